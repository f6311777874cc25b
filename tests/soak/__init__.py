"""Long trials of promises: `make soak`."""

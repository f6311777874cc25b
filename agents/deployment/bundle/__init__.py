"""A controller as a folder that runs without us."""

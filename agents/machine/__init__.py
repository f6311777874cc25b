"""Is this machine ready, and how fast is it."""

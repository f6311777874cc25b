"""Tasks with goals."""

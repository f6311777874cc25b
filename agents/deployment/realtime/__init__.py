"""A controller in wall-clock time, and its flight recordings."""

"""A run: its settings, its directory, and opening what it holds."""

"""Comparisons behind figures in docs/, too special for the command line."""

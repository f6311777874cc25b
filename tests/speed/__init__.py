"""Speeds, measured as ratios: `make bench`, `make bench-cycle`, `make bench-gpu`."""

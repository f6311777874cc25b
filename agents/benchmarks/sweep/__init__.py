"""Planner settings against return and latency."""

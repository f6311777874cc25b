"""Agents compared on suites of tasks, with intervals and latency."""

"""Environments around environments: noise and delay, several tasks, one simulator."""

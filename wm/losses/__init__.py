"""Losses, one idea a file; each is tested against an oracle."""

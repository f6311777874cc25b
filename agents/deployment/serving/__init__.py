"""A controller for clients on a network."""

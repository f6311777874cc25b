"""Latent world models: networks, losses, learners."""

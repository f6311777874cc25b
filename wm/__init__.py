"""Latent world models: networks, losses, learner, checkpoints."""

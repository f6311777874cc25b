"""What latents know, and where a model fails."""

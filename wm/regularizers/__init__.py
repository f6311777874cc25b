"""Regularisers against collapsed latents, one a file."""

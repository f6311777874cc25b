"""What keeps latents from collapsing, one idea a file."""

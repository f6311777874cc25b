"""Online learning: simulate, store, learn, save, again."""

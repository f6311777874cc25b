"""The `latentmpc` command: one thin file a verb; flags become a config, a config one call."""

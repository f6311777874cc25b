"""Native tasks as compiled programs on jax's device."""

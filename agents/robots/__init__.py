"""A user's own robot: a task file written for its model, and looked over before training."""

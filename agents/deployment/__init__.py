"""A trained model as a controller for a robot."""

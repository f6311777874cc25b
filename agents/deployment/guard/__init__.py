"""The safety layer between a controller and a robot."""

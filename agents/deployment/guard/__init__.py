"""What stands between a controller and a robot."""

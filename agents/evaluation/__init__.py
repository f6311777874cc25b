"""Episodes in closed loop, and the statistics of what they returned."""

"""Many MuJoCo simulators on native threads, and what can be done to them."""

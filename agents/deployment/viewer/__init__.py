"""A simulation that a person watches and steers in the browser."""

"""Reward-free world models from recorded episodes."""

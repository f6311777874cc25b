"""Reward-free world models: encoders, predictors, objectives, learner."""

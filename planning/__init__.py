"""Sampling planners that search inside a model given as functions."""

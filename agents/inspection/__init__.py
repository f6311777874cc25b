"""Probes, predictions and staged events: the knowledge and the failures of a model."""

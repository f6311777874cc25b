"""Recorded episodes: collect, store, exchange, augment."""

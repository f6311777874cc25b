"""Recipes: settings of verbs that reach a figure of docs/, a TOML file each."""

"""Tasks of dm_control's suite."""

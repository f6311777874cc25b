"""Sealed files: save, restore and verify what must survive a kill or comes from a stranger."""

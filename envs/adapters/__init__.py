"""Other people's environments behind our contract."""

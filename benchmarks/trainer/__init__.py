"""Training speed; see `__main__`."""

"""Runs shown in experiment trackers, from outside the training pod."""

"""The result as a page and as a model card: pure, from what a run has left."""

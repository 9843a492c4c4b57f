"""One module per objective: what its rows teach, and what its loss is."""

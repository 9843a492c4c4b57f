"""One module per file format: from bytes to raw objects with their places."""

"""HTML pages: what they all share."""

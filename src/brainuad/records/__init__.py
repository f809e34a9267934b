"""Records: typed values that are kept as JSON."""

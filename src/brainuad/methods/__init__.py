"""One file is one published method."""

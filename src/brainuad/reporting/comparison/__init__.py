"""Several runs in one table, with tests between them."""

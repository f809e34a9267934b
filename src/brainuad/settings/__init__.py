"""Turn configurations into objects, and objects back into plain values."""

"""From configurations to objects, and from objects back to plain values."""

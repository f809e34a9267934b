"""Changes between two visits of one person."""

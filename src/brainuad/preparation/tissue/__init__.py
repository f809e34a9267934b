"""Tissue maps, and scans that are replaced by theirs."""

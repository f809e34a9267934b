"""Findings of many scans in classes, without labels."""

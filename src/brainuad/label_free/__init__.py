"""Objectives without labels: synthetic lesions in healthy scans, and which of them are found."""

"""Prediction of many scans: masks and findings in each scan's own space."""

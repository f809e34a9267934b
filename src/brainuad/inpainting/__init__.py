"""Holes in brains: drawn to train on, laid to detect with, and found by repainting."""

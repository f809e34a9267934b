"""Scores of folders of anomaly maps, from files alone."""

"""Scores folders of anomaly maps; files in, files out, and never a model."""

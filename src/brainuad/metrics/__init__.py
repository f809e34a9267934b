"""Scores of maps and masks, as pure functions without a model."""

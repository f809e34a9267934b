"""Lesion masks: random ones for training, covering ones for detection, real ones moved."""

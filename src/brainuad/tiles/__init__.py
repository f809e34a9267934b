"""Training data: cached tiles, their augmentation, cached encodings."""

"""What training reads: cached tiles, their augmentation, cached encodings."""

"""Skull stripping: one file per back end, each `(volume) -> brain_mask`."""

"""Public data sets: one file each, from the official download to rows for `brainuad-prepare`.

The wheel has this folder as `brainuad.data_prep`. Imports are relative, for both names.
"""

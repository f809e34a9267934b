"""Public data sets: one file each, from the official download to rows for `brainuad-prepare`."""

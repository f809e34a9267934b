"""Cohorts, NIfTI files, slices and the embedded phantom."""

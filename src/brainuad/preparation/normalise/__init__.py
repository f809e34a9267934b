"""Intensity normalisation: of one scan, and fitted on a cohort."""

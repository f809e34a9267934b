"""Quality measures: of one scan, and left against right over a cohort."""

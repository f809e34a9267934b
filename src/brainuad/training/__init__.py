"""A run from the cohort to the report: fit, first stage, callbacks, stopping and resuming."""

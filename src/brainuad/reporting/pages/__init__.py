"""The HTML pages: a run's report with its sections, and the quality of a preparation."""

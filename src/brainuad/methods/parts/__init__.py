"""Parts that several methods share: residuals, draws, schedules, losses, prototypes."""

"""Pure functions of maps and masks; no model is imported here."""

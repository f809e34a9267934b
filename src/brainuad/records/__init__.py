"""Records: what is kept as JSON beside scans, as typed values."""

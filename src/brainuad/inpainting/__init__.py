"""Filling the lesions of a scan."""

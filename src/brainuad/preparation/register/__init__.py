"""Registration: linear, and by demons."""

"""From a scan as it came to a prepared volume; every geometric step has its way back."""

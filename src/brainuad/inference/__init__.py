"""Detection of raw scans by a trained model: masks and findings in each scan's own space."""

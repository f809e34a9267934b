"""From a trained model and raw scans to masks and findings in each scan's own space."""

"""Post-processing of an anomaly map into a 3D mask."""

"""Post-processing: steps that turn an anomaly map into a 3D mask."""

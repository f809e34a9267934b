"""From an anomaly map to a 3D mask."""

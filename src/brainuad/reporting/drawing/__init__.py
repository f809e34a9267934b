"""Pictures: curves, planes of subjects, false positives, filled scans."""

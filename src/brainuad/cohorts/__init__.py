"""Subjects and their scans: the manifest, finding scans, splits and folds."""

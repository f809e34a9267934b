"""Synthetic lesions, painted into healthy images: shapes, what fills them, and mixtures."""

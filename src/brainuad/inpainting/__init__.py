"""Inpainting of lesions with healthy tissue."""

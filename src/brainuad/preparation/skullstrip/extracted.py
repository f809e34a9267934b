"""Brain mask of a scan that is already brain-extracted."""

import numpy as np
from scipy import ndimage


def extracted_brain_mask(array: np.ndarray, tolerance: float = 0.01) -> np.ndarray:
    """The largest connected region that differs from the background, holes filled.

    The background is not exactly 0 in scans that were interpolated (splines undershoot), so a
    share of the 99th percentile is the limit.

    Args:
        array: `(D, H, W)`, brain-extracted: background near 0.
        tolerance: share of the 99th percentile of |array| that still counts as background.

    Returns:
        `(D, H, W)` bool; empty when the array is constant.
    """
    magnitude = np.abs(array)
    foreground = magnitude > tolerance * np.percentile(magnitude, 99)
    labels, count = ndimage.label(foreground)
    if count == 0:
        return foreground
    largest = np.bincount(labels.ravel())[1:].argmax() + 1
    return ndimage.binary_fill_holes(labels == largest)

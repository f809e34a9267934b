"""Intensities with a background of 0 and nothing below it, whatever the scan calls background."""

import numpy as np
from scipy import ndimage

from brainuad.volumes.lost import border_of

SAME = 1e-4
"""Values that differ by no more than this share of the intensities' range are one value."""

CONSTANT = 0.5
"""Share of the array's faces that has one value where the background was set to it."""

NEAR = 0.01
"""Share of the range that interpolation leaves beside a background that is not 0."""

DARK = 0.02
"""Share of the range up to which a background is as good as 0, and clearing it needs no word."""

CLEAR = 0.02
"""Share of the range that the darkest voxel is lifted above a background of 0."""

BELOW = 0.1
"""Share of the 99th percentile. Negative values up to it come from interpolation, not signal."""


def cleared(array: np.ndarray) -> tuple[np.ndarray, str]:
    """A scan whose background is 0 and whose head, or brain, is not below it.

    A constant background becomes 0. If signal lies below 0, as in z-scores, all of it is shifted
    up. Everything else stays as it is: skull stripping, bias correction and normalisation take
    intensities for magnitudes.

    Args:
        array: `(D, H, W)`, finite.

    Returns:
        The array, the same one where nothing is to be done, and what was done, empty then.
    """
    border = border_of(array)
    value = float(np.median(border))
    # Every second voxel along each axis tells the range as well.
    spread = float(np.percentile(np.abs(array[::2, ::2, ::2] - value), 99))
    if spread == 0:
        return array, ""
    constant = (np.abs(border - value) <= SAME * spread).mean() >= CONSTANT
    # Everything that looks for a background takes so much for 0.
    is_zero = abs(value) <= NEAR * spread
    low = float(array.min())
    if not (constant and not is_zero) and low >= 0:
        return array, ""
    outside = np.zeros(array.shape, bool)
    if constant:
        outside = _from_border(np.abs(array - value) <= (SAME if is_zero else NEAR) * spread)
    inside = array[~outside & (array != 0)] if is_zero else array[~outside]
    if not inside.size:
        return array, ""
    said = []
    shift = 0.0
    if np.percentile(inside, 1) < -BELOW * np.percentile(np.abs(inside), 99):
        lowest = float(inside.min())
        # The darkest voxels of a brain are to stay apart from the background.
        shift = -lowest + CLEAR * (float(np.percentile(inside, 99)) - lowest)
        if not constant or value < lowest:
            shift = -min(lowest, value)
        said.append(f"intensities below 0: all are shifted by {shift:.4g}")
    if constant and not is_zero:
        if abs(value) > DARK * spread:
            said.append(f"its background of {value:.4g} is taken for 0")
    elif not shift:
        return array, ""
    moved = np.where(outside, 0, array.astype(np.float64) + shift)
    return moved.astype(np.float32), "; ".join(said)


def _from_border(where: np.ndarray) -> np.ndarray:
    """The part of a region, `(D, H, W)` bool, that is connected to the array's faces."""
    labels, _ = ndimage.label(where)
    reached = np.unique(border_of(labels))
    return np.isin(labels, reached[reached > 0])

"""Joint normalisation: two scans of one head on one scale, without their difference in bias.

Only the difference of the two scans counts, so a bias field that both have may stay. Each scan
bears half of the correction; the order of the two does not matter.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

BIAS_MM = 20.0
"""Standard deviation of the Gaussian that smooths the ratio of both scans."""

ROUNDS = 3
"""Rounds of the estimate; each leaves out the voxels that the last one found changed."""

OUTLIER = 3.0
"""Robust standard deviations of the difference beyond which a voxel is left out."""

QUANTILES = np.linspace(0.02, 0.98, 49)
"""Quantiles of the brain whose values become equal."""


class Joined(NamedTuple):
    """Two scans on one scale: 1 is the mean of their medians within the brain."""

    first: np.ndarray
    second: np.ndarray


def joined(first: np.ndarray, second: np.ndarray, inside: np.ndarray, spacing_mm: float) -> Joined:
    """Return two scans with equal brightness and without their difference in bias.

    The differential bias is the smoothed ratio of the two (Lewis and Fox 2004, NeuroImage 23(1)).
    Then both get the mean of their quantiles (midway equalisation, Delon 2004, JMIV 21(2)).

    Args:
        first: `(D, H, W)`, any unit.
        second: likewise, on the same grid.
        inside: `(D, H, W)` bool, brain in both.
        spacing_mm: edge length of a voxel.

    Raises:
        ValueError: a scan is not brighter than 0 within the brain.
    """
    one, two = (_by_median(array, inside) for array in (first, second))
    kept = inside
    sigma = BIAS_MM / spacing_mm
    for _ in range(ROUNDS):
        means = [
            ndimage.gaussian_filter(np.where(kept, a, 0), sigma, truncate=3) for a in (one, two)
        ]
        least = 1e-3 * max(mean.max() for mean in means)
        root = np.sqrt(np.maximum(means[1], least) / np.maximum(means[0], least))
        one, two = one * root, two / root
        kept = inside & ~_outlying(two - one, inside)
    return Joined(*_midway(one, two, inside, kept))


def _by_median(array: np.ndarray, inside: np.ndarray) -> np.ndarray:
    middle = float(np.median(array[inside])) if inside.any() else 0.0
    if middle <= 0:
        raise ValueError("the scan is not brighter than 0 within the brain")
    return array / np.float32(middle)


def _outlying(difference: np.ndarray, inside: np.ndarray) -> np.ndarray:
    values = difference[inside]
    middle = np.median(values)
    limit = OUTLIER * 1.4826 * np.median(np.abs(values - middle))
    return np.abs(difference - middle) > limit


def _midway(
    one: np.ndarray, two: np.ndarray, inside: np.ndarray, kept: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return both scans, each mapped to the mean of their quantiles within `kept`."""
    own = [np.quantile(array[kept], QUANTILES) for array in (one, two)]
    goal = (own[0] + own[1]) / 2
    return _mapped(one, own[0], goal, inside), _mapped(two, own[1], goal, inside)


def _mapped(array: np.ndarray, own: np.ndarray, goal: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Map `own` to `goal`, with the change at the outer ones beyond them; 0 outside the brain."""
    # A constant change beyond the ends: a lesion keeps its contrast.
    change = np.interp(array[inside], own, goal - own)
    found = np.zeros(array.shape, np.float32)
    found[inside] = array[inside] + change
    return found

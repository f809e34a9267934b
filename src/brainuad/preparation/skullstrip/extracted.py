"""Brain mask of a scan that is brain-extracted already."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from brainuad.types import Volume
from brainuad.volumes.regions import largest_region


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
    return ndimage.binary_fill_holes(largest_region(foreground))


@dataclass(frozen=True)
class Extracted:
    """Brain mask of a scan whose background is empty already: all that is not background.

    Args:
        tolerance: share of the 99th percentile that still counts as background.
        most_ml: more than this is no brain, but a head.
    """

    tolerance: float = 0.01
    most_ml: float = 2500.0

    def __call__(self, volume: Volume) -> np.ndarray:
        """See `contract`.

        Raises:
            ValueError: more than a brain is left.
        """
        mask = extracted_brain_mask(volume.array, self.tolerance)
        found_ml = _millilitres(mask, volume)
        if found_ml > self.most_ml:
            raise ValueError(
                f"{found_ml:.0f} ml are not background, more than a brain has: is the skull still "
                "on? Prepare it with brainuad-prepare, or give a brain mask"
            )
        return mask

    def fits(self, volume: Volume) -> bool:
        """Return whether the foreground is no larger than a brain."""
        mask = extracted_brain_mask(volume.array, self.tolerance)
        return _millilitres(mask, volume) <= self.most_ml


def _millilitres(mask: np.ndarray, volume: Volume) -> float:
    return float(np.count_nonzero(mask) * np.prod(volume.spacing_mm) / 1000)

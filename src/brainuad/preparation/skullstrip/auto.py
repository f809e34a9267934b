"""Choice of a skull stripper: none for a scan that is stripped already."""

from dataclasses import dataclass

import numpy as np

from brainuad.preparation.skullstrip.contract import SkullStrip
from brainuad.preparation.skullstrip.deepbet import Deepbet
from brainuad.preparation.skullstrip.extracted import Extracted
from brainuad.types import Volume


@dataclass(frozen=True)
class Auto:
    """A network (`Deepbet`), unless the scan is stripped already: that one stays as it is.

    Args:
        empty: share of exactly equal background voxels from which a scan counts as stripped.
    """

    empty: float = 0.4

    def __call__(self, volume: Volume) -> np.ndarray:
        """See `contract`."""
        return self.choose(volume)(volume)

    def choose(self, volume: Volume) -> SkullStrip:
        """Return the back end for a scan."""
        extracted = Extracted()
        # A head laid into a larger box has an empty background too, and is no brain.
        if is_stripped(volume.array, self.empty) and extracted.fits(volume):
            return extracted
        return Deepbet()


def is_stripped(array: np.ndarray, empty: float = 0.4) -> bool:
    """Return whether the background was cleared: one value, not noise, fills most of the array."""
    values, counts = np.unique(np.rint(array[::2, ::2, ::2]), return_counts=True)
    lowest = abs(values[counts.argmax()]) <= 0.01 * np.percentile(np.abs(array), 99)
    if not lowest or counts.max() < empty * counts.sum():
        return False
    # A head's background is cleared by some scanners too, but a head reaches the array's edges.
    foreground = np.abs(array) > 0.01 * np.percentile(np.abs(array), 99)
    edges = [np.take(foreground, (0, -1), axis).mean() for axis in range(3)]
    return max(edges) < 0.01

"""Changed tissue: where the difference of two jointly normalised scans exceeds its noise.

Subtraction of registered scans finds more changes than the comparison of two masks does, which
differ along every border (Tan et al. 2002, AJNR 23(2)).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from brainuad.changes.joint import Joined
from brainuad.metrics.lesion import label_lesions

GROUPS = 20
"""Groups of voxels by the strength of their edges, for which the noise is measured."""

LEAST_NOISE = 0.015
"""Smallest noise, in units of the brain's brightness: scans of two days never agree better."""

RIM_MM = 6.0
"""Thickness of the brain's rim, whose noise is measured apart."""


class Different(NamedTuple):
    """Changed tissue.

    Attributes:
        labels: `(D, H, W)` int, changed regions from 1; 0 elsewhere.
        z: `(D, H, W)` float32, the difference in standard deviations, second minus first.
    """

    labels: np.ndarray
    z: np.ndarray


@dataclass(frozen=True)
class Difference:
    """Hysteresis on the standardised difference, each region bounded at half of its height.

    The noise of the difference is measured in the pair itself, as a function of the edges that both
    scans have: a small error of the registration shows there.

    Args:
        smooth_mm: standard deviation of the Gaussian before the search; borders are unsmoothed.
        peak: standard deviations that a region must exceed somewhere.
        border: standard deviations down to which it extends at most.
        height: share of its height at its border; the height, a high quantile, lies above the mean.
        least_mm3: smallest region.
    """

    smooth_mm: float = 0.8
    peak: float = 6.0
    border: float = 3.0
    height: float = 0.45
    least_mm3: float = 30.0

    def __call__(self, pair: Joined, inside: np.ndarray, spacing_mm: float) -> Different:
        """Return the changed tissue.

        Args:
            pair: both scans.
            inside: `(D, H, W)` bool, brain in both.
            spacing_mm: edge length of a voxel.
        """
        sigma = self.smooth_mm / spacing_mm
        # Without the brain around, smoothing would darken the rim.
        share = ndimage.gaussian_filter(inside.astype(np.float32), sigma)
        first, second = (
            np.where(inside, ndimage.gaussian_filter(array, sigma) / np.maximum(share, 0.1), 0)
            for array in pair
        )
        difference = second - first
        edges = np.minimum(*(_edges(array, spacing_mm) for array in (first, second)))
        noise = _noise(difference, edges, inside, round(RIM_MM / spacing_mm))
        z = np.where(inside, difference / noise, 0).astype(np.float32)
        # Smoothing would make a thin rind wider.
        sharp = pair.second - pair.first
        voxels = self.least_mm3 / spacing_mm**3
        brighter = self._regions(z, sharp, voxels)
        darker = self._regions(-z, -sharp, voxels)
        labels = np.where(darker > 0, darker + brighter.max(), brighter)
        return Different(labels, z)

    def _regions(self, z: np.ndarray, difference: np.ndarray, voxels: float) -> np.ndarray:
        """Return the regions of one sign, numbered from 1."""
        labels = np.zeros(z.shape, np.int32)
        count = 0
        wide = label_lesions(z > self.border)
        for number, box in enumerate(ndimage.find_objects(wide), 1):
            own = wide[box] == number
            if own.sum() < voxels or z[box][own].max() < self.peak:
                continue
            limit = self.height * np.quantile(difference[box][own], 0.9)
            part = label_lesions(own & (difference[box] > limit))
            sizes = np.bincount(part.ravel())
            sizes[0] = 0
            for piece in np.flatnonzero(sizes >= voxels):
                here = part == piece
                if z[box][here].max() >= self.peak:
                    count += 1
                    labels[box][here] = count
        return labels


def _edges(array: np.ndarray, spacing_mm: float) -> np.ndarray:
    """Return the length of the gradient, a mm."""
    parts = np.gradient(array, spacing_mm)
    return np.sqrt(sum(part**2 for part in parts))


def _noise(
    difference: np.ndarray, edges: np.ndarray, inside: np.ndarray, rim_voxels: int
) -> np.ndarray:
    """Return the noise of the difference: of the brain's rim apart, where masks end."""
    deep = ndimage.binary_erosion(inside, iterations=max(rim_voxels, 1))
    noise = np.full(difference.shape, np.inf, np.float32)
    for part in (deep, inside & ~deep):
        if part.any():
            noise[part] = _by_edges(difference[part], edges[part])
    return noise


def _by_edges(difference: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the robust standard deviation of the values with edges as strong, for each value."""
    order = np.argsort(edges, kind="stable")
    groups = [part for part in np.array_split(order, GROUPS) if part.size]
    middles = [edges[part].mean() for part in groups]
    spread = [1.4826 * np.median(np.abs(difference[part])) for part in groups]
    # Stronger edges have no less noise; beyond the strongest group it grows as a shift's does.
    found: np.ndarray = np.interp(edges, middles, np.maximum.accumulate(spread))
    found *= np.maximum(edges / max(middles[-1], 1e-6), 1)
    return np.maximum(found, LEAST_NOISE)

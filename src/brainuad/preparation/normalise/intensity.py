"""Intensity normalisation to [0, 1]; it has no inverse because maps and masks never need one.

A normaliser is a callable `(image, brain_mask) -> image` of `(D, H, W)` arrays: any unit in,
float32 in [0, 1] and zero outside the brain out. It raises a ValueError where the brain is empty
or constant. Only `Nyul` learns from other scans, through `fitted`, on training scans alone.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

Pair = tuple[np.ndarray, np.ndarray]
"""Image `(D, H, W)` and brain mask."""

Normalise = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Percentile:
    """Two percentiles of the brain become 0 and 1, what lies beyond is clipped.

    Args:
        low: percentile that becomes 0.
        high: percentile that becomes 1; a lower one would clip the brightest lesions.
    """

    low: float = 1.0
    high: float = 99.9

    def __call__(self, image: np.ndarray, brain_mask: np.ndarray) -> np.ndarray:
        """See the module."""
        bottom, top = np.percentile(_inside(image, brain_mask), [self.low, self.high])
        return _scaled(image, brain_mask, float(bottom), float(top))


@dataclass(frozen=True)
class ZScore:
    """Standard deviations from the brain's mean, a range of them mapped to [0, 1].

    Args:
        low: number of standard deviations that becomes 0.
        high: number that becomes 1.
    """

    low: float = -3.0
    high: float = 5.0

    def __call__(self, image: np.ndarray, brain_mask: np.ndarray) -> np.ndarray:
        """See the module."""
        inside = _inside(image, brain_mask)
        mean, std = float(inside.mean()), float(inside.std())
        return _scaled(image, brain_mask, mean + self.low * std, mean + self.high * std)


@dataclass(frozen=True)
class Mode:
    """The most frequent intensity of the brain, white or grey matter, becomes a fixed value.

    After WhiteStripe (Shinohara et al. 2014, NeuroImage: Clinical 6), with the peak alone: it
    stands still where lesions and CSF move the mean.

    Args:
        value: new intensity of the peak; 0 stays 0.
        bins: number of bins of the smoothed histogram.
    """

    value: float = 0.5
    bins: int = 256

    def __call__(self, image: np.ndarray, brain_mask: np.ndarray) -> np.ndarray:
        """See the module."""
        inside = _inside(image, brain_mask)
        top = float(np.percentile(inside, 99.5))
        low = float(np.percentile(inside, 5))
        if top <= low:
            raise ValueError("the image is constant inside the brain")
        counts, edges = np.histogram(inside, self.bins, (low, top))
        peak = int(ndimage.gaussian_filter1d(counts.astype(float), self.bins / 50).argmax())
        mode = float(edges[peak : peak + 2].mean())
        if mode <= 0:
            raise ValueError("the brain's most frequent intensity is not above 0")
        return _scaled(image, brain_mask, 0.0, mode / self.value)


@dataclass(frozen=True)
class Equalise:
    """Histogram equalisation within the brain: each voxel's rank in (0, 1], ties the highest."""

    def __call__(self, image: np.ndarray, brain_mask: np.ndarray) -> np.ndarray:
        """See the module."""
        inside = _inside(image, brain_mask)
        found = np.zeros(image.shape, np.float32)
        found[brain_mask] = np.searchsorted(np.sort(inside), inside, side="right") / inside.size
        return found


@dataclass(frozen=True)
class Nyul:
    """Histogram standardisation (Nyúl, Udupa and Zhang 2000, IEEE TMI 19(2)).

    The landmarks of training scans are averaged; a scan's own are moved onto them, linearly in
    between, and what lies beyond the outer two goes on with the slope of the outer pieces, clipped
    to [0, 1].

    Args:
        percentiles: landmarks as percentiles of the brain, rising.
        standard: new intensities of the landmarks, rising in [0, 1]; empty before `fitted`.
    """

    percentiles: tuple[float, ...] = (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99)
    standard: tuple[float, ...] = ()

    def fitted(self, scans: Iterable[Pair]) -> "Nyul":
        """The normaliser with the standard of training scans.

        Raises:
            ValueError: no scan.
        """
        landmarks = []
        for image, brain_mask in scans:
            own = self._landmarks(image, brain_mask)
            # Each scan's outer landmarks go to 0.05 and 0.95: room for what is beyond them.
            landmarks.append(0.05 + 0.9 * (own - own[0]) / (own[-1] - own[0]))
        if not landmarks:
            raise ValueError("no training scan to fit the standard histogram on")
        return replace(self, standard=tuple(float(v) for v in np.mean(landmarks, axis=0)))

    def __call__(self, image: np.ndarray, brain_mask: np.ndarray) -> np.ndarray:
        """See the module.

        Raises:
            ValueError: not fitted, or the brain is constant.
        """
        if not self.standard:
            raise ValueError("the standard histogram is not fitted yet")
        own, goal = self._landmarks(image, brain_mask), np.array(self.standard)
        # Ties among a scan's landmarks (8-bit scans) would make the map undefined there.
        own, index = np.unique(own, return_index=True)
        goal = goal[index]
        inside = image[brain_mask].astype(np.float64)
        mapped = np.interp(inside, own, goal)
        below, above = inside < own[0], inside > own[-1]
        mapped[below] = goal[0] + (inside[below] - own[0]) * _slope(own[:2], goal[:2])
        mapped[above] = goal[-1] + (inside[above] - own[-1]) * _slope(own[-2:], goal[-2:])
        found = np.zeros(image.shape, np.float32)
        found[brain_mask] = np.clip(mapped, 0, 1)
        return found

    def _landmarks(self, image: np.ndarray, brain_mask: np.ndarray) -> np.ndarray:
        own = np.percentile(_inside(image, brain_mask), self.percentiles)
        if own[-1] <= own[0]:
            raise ValueError("the image is constant inside the brain")
        return own


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    return float((y[-1] - y[0]) / (x[-1] - x[0]))


def _inside(image: np.ndarray, brain_mask: np.ndarray) -> np.ndarray:
    inside = image[brain_mask]
    if inside.size == 0:
        raise ValueError("the brain mask is empty")
    return inside


def _scaled(array: np.ndarray, brain_mask: np.ndarray, bottom: float, top: float) -> np.ndarray:
    if top <= bottom:
        raise ValueError("the image is constant inside the brain")
    scaled = np.clip((array - bottom) / (top - bottom), 0.0, 1.0)
    return np.where(brain_mask, scaled, 0.0).astype(np.float32)

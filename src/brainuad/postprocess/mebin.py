"""MEBin: the threshold of a scan at which its number of components is most stable.

Main Element Binarization of AnomalyNCD (Huang et al., CVPR 2025, arXiv 2410.14379;
HUST-SLOW/AnomalyNCD, MIT, `models/modules/_MEBin.py`). It is written from the description. The
published rule takes the searched interval from the batch of images, so a mask depends on the other
images; here healthy validation brains set it. Also ours: components in 3D, and erosion in mm, which
is used for the count only, because every threshold variant makes its mask by the same steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import ndimage
from scipy.sparse import csr_array
from scipy.sparse.csgraph import minimum_spanning_tree

from brainuad.postprocess.box import ball
from brainuad.postprocess.smooth import Spacing
from brainuad.postprocess.threshold import HealthyThreshold
from brainuad.volumes.planes import in_plane

_HALF = [step for step in product((-1, 0, 1), repeat=3) if step > (0, 0, 0)]
"""One of each pair of opposite neighbours, of 26."""


@dataclass(frozen=True)
class Mebin:
    """Parameters of MEBin.

    Args:
        bottom_share: share of the healthy validation brains' voxels below the lowest threshold;
            the highest threshold is their highest score.
        levels: number of thresholds, evenly spaced; 64 in the code, every fourth of 256.
        least_run: smallest number of neighbouring thresholds with one count that is stable.
        erosion_mm: radius of the ball that erodes a mask before its components are counted. The
            code uses 6 pixels of photographs; 2 mm already delete most MS lesions.

    Raises:
        ValueError: out of range.
    """

    bottom_share: float = 0.99
    levels: int = 64
    least_run: int = 4
    erosion_mm: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.bottom_share <= 1 and 1 <= self.least_run <= self.levels):
            raise ValueError(
                f"bottom_share is {self.bottom_share}, least_run {self.least_run} of {self.levels} "
                "levels; expected a share in (0, 1] and a run of at most all levels"
            )
        if self.erosion_mm < 0:
            raise ValueError(f"erosion_mm is {self.erosion_mm}; expected 0 or more")

    def fit(self, scores: Sequence[np.ndarray], ordered: bool = False) -> tuple[float, float]:
        """Return the lowest and the highest threshold; arguments as of `HealthyThreshold.fit`."""
        bottom = HealthyThreshold(1 - self.bottom_share).fit(scores, ordered)
        return bottom, HealthyThreshold(0.0).fit(scores, ordered)


@dataclass(frozen=True)
class MebinThreshold:
    """MEBin with the interval of its thresholds.

    Args:
        rule: parameters of the search.
        bottom: lower end of the interval, excluded.
        top: highest threshold; an empty interval gives no threshold.
    """

    rule: Mebin
    bottom: float
    top: float

    def __call__(self, score: np.ndarray, brain_mask: np.ndarray, spacing_mm: Spacing) -> float:
        """Return the threshold of a scan.

        The lowest one of the longest run of thresholds with one number of components, not 0; the
        higher of two runs of one length. Where no run is long enough, the scan's highest score, so
        that nothing is marked. NaN where the interval is empty.
        """
        if not self.top > self.bottom:
            return float("nan")
        shares = np.arange(1, self.rule.levels + 1) / self.rule.levels
        rising = (self.bottom + (self.top - self.bottom) * shares).astype(np.float32)
        inside = np.where(brain_mask, score, -np.inf).astype(np.float32)
        if self.rule.erosion_mm > 0:
            # Erosion of every mask above a threshold is a minimum filter of the scores.
            around = in_plane(ball(self.rule.erosion_mm, spacing_mm), score.shape)
            inside = ndimage.minimum_filter(inside, footprint=around, cval=-np.inf, mode="constant")
        run = longest_run(component_counts(inside, rising)[::-1], self.rule.least_run)
        return float(score.max()) if run is None else float(rising[::-1][run.stop - 1])


def component_counts(score: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Count the components (26 neighbours) above each threshold.

    All at once, in 0.04 s for a brain at 1 mm; labelling 64 masks takes 0.62 s. Above any
    threshold, a forest that joins neighbours by the highest scores has one tree per component, and
    a tree has one edge less than it has voxels.

    Args:
        score: `(D, H, W)`.
        thresholds: `(T,)`, rising.

    Returns:
        `(T,)` int.
    """
    places = np.nonzero(score > thresholds[0])
    if not len(places[0]):
        return np.zeros(len(thresholds), np.int64)
    # Number of thresholds that a voxel, or an edge between two, is above.
    level = np.searchsorted(thresholds, score[places], side="left")
    number = np.full([size + 2 for size in score.shape], -1, np.int32)
    padded = np.stack(places) + 1
    number[tuple(padded)] = np.arange(len(level))
    ends, weights = [], []
    for step in _HALF:
        other = number[tuple(padded + np.array(step)[:, None])]
        one = np.flatnonzero(other >= 0)
        ends.append(np.stack([one, other[one]]))
        weights.append(np.minimum(level[one], level[other[one]]))
    edges, weight = np.concatenate(ends, axis=1), np.concatenate(weights)
    # Minimum spanning forest; edges between high scores cost little, and never 0.
    cost = (len(thresholds) + 1 - weight).astype(np.float64)
    forest = minimum_spanning_tree(csr_array((cost, edges), shape=(len(level),) * 2))
    joined = len(thresholds) + 1 - forest.data.astype(np.int64)
    return _at_least(level, len(thresholds)) - _at_least(joined, len(thresholds))


def longest_run(counts: Sequence[int] | np.ndarray, least: int) -> slice | None:
    """Return the longest run of one count, not 0, the first of equals; None below `least`."""
    values = np.asarray(counts)
    starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
    lengths = np.diff(np.r_[starts, len(values)])
    lengths = np.where((values[starts] == 0) | (lengths < least), 0, lengths)
    best = int(lengths.argmax())
    return slice(int(starts[best]), int(starts[best] + lengths[best])) if lengths[best] else None


def _at_least(levels: np.ndarray, most: int) -> np.ndarray:
    """Count the levels of at least 1, 2, ... `most`."""
    return np.bincount(levels, minlength=most + 1)[::-1].cumsum()[::-1][1:]

"""Abnormal tissue at both visits, from the changed regions and the two anomaly maps.

A map alone flickers: the same tissue is marked at one visit and missed at the other. So tissue that
has not changed is judged once, by both maps, and only a changed region tells the visits apart.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from brainuad.metrics.lesion import label_lesions
from brainuad.postprocess.components import RemoveSmall

LEAST_SCORE = 0.5
"""Smallest score, in thresholds, that a tenth of a changed region reaches at one visit. Below it
the region is no finding: vessels, cerebrospinal fluid and artefacts change too."""


class Tissue(NamedTuple):
    """Abnormal tissue, each `(D, H, W)` bool; `second = (first | gained) & ~lost`.

    Attributes:
        first: at the first visit.
        second: at the second visit.
        gained: abnormal at the second visit alone.
        lost: abnormal at the first visit alone.
    """

    first: np.ndarray
    second: np.ndarray
    gained: np.ndarray
    lost: np.ndarray


def tissue_of(
    labels: np.ndarray,
    scores: tuple[np.ndarray, np.ndarray],
    masks: tuple[np.ndarray, np.ndarray],
    spacing_mm: float,
    least_mm3: float,
) -> Tissue:
    """Return the abnormal tissue at both visits.

    Args:
        labels: `(D, H, W)` int, changed regions from 1.
        scores: anomaly map of each visit, in units of its threshold.
        masks: `(D, H, W)` bool, mask of each visit.
        spacing_mm: edge length of a voxel.
        least_mm3: smallest part of unchanged tissue.
    """
    numbers = np.arange(1, labels.max() + 1)
    first, second = (_by_region(score, labels, np.mean) for score in scores)
    abnormal = _by_region(np.maximum(*scores), labels, _high) >= LEAST_SCORE
    gained = np.isin(labels, numbers[abnormal & (second > first)])
    lost = np.isin(labels, numbers[abnormal & (second <= first)])
    unchanged = (masks[0] | masks[1]) & ~gained & ~lost
    both = np.sqrt(np.maximum(scores[0], 0) * np.maximum(scores[1], 0)) >= 1
    spilled = [
        _connected(unchanged & mask & ~both, changed)
        for mask, changed in zip(masks, (lost, gained), strict=True)
    ]
    keep = RemoveSmall(least_mm3)
    same = keep(unchanged & ~spilled[0] & ~spilled[1], unchanged, (spacing_mm,) * 3)
    return Tissue(same | lost, same | gained, gained, lost)


def _connected(spill: np.ndarray, changed: np.ndarray) -> np.ndarray:
    """Return the voxels of a mask that are connected to changed tissue.

    A mask may be wider than the tissue that it is about. So unchanged tissue beside a change does
    not count where only the map of the visit with that tissue marks it.
    """
    parts = label_lesions(spill | changed)
    return spill & np.isin(parts, np.unique(parts[changed]))


def _by_region(
    values: np.ndarray, labels: np.ndarray, measure: Callable[[np.ndarray], float]
) -> np.ndarray:
    """Return a measure of the values of each region."""
    boxes = enumerate(ndimage.find_objects(labels), 1)
    return np.array([measure(values[box][labels[box] == number]) for number, box in boxes])


def _high(values: np.ndarray) -> float:
    return float(np.quantile(values, 0.9))

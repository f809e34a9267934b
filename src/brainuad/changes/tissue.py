"""Abnormal tissue at both visits, from the changed regions and the two anomaly maps.

A map alone flickers: the same tissue is marked at one visit and missed at the other. So tissue that
has not changed is judged once, by both maps, and only a changed region tells the visits apart.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from brainuad.postprocess.box import ball
from brainuad.postprocess.components import RemoveSmall

LEAST_SCORE = 0.5
"""Smallest score, in thresholds, that a tenth of a changed region reaches at one visit. Below it
the region is no finding: vessels, cerebrospinal fluid and artefacts change too."""

RIND_MM = 2.0
"""Half of the thickness from which unchanged tissue counts that only one map marks."""


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
    marked: np.ndarray,
    spacing_mm: float,
    least_mm3: float,
) -> Tissue:
    """Return the abnormal tissue at both visits.

    Args:
        labels: `(D, H, W)` int, changed regions from 1.
        scores: anomaly map of each visit, in units of its threshold.
        marked: `(D, H, W)` bool, in the mask of either visit.
        spacing_mm: edge length of a voxel.
        least_mm3: smallest part of unchanged tissue.
    """
    numbers = np.arange(1, labels.max() + 1)
    first, second = (_by_region(score, labels, np.mean) for score in scores)
    abnormal = _by_region(np.maximum(*scores), labels, _high) >= LEAST_SCORE
    gained = np.isin(labels, numbers[abnormal & (second > first)])
    lost = np.isin(labels, numbers[abnormal & (second <= first)])
    spacing = (spacing_mm,) * 3
    same = marked & ~gained & ~lost
    both = np.sqrt(np.maximum(scores[0], 0) * np.maximum(scores[1], 0)) >= 1
    # The mask of one visit alone often runs around a change as a thin rind.
    thick = ndimage.binary_opening(same, ball(RIND_MM, spacing))
    same = RemoveSmall(least_mm3)(same & (both | thick), np.ones_like(same), spacing)
    return Tissue(same | lost, same | gained, gained, lost)


def _by_region(
    values: np.ndarray, labels: np.ndarray, measure: Callable[[np.ndarray], float]
) -> np.ndarray:
    """Return a measure of the values of each region."""
    boxes = enumerate(ndimage.find_objects(labels), 1)
    return np.array([measure(values[box][labels[box] == number]) for number, box in boxes])


def _high(values: np.ndarray) -> float:
    return float(np.quantile(values, 0.9))

"""Lesion-wise metrics: sensitivity, precision and F1 (docs/explanation/protocol.md#3-metrics)."""

from typing import NamedTuple

import cc3d
import numpy as np
from scipy import ndimage

from brainuad.metrics.voxel import Curve

MIN_VOLUME_MM3 = 3.0
"""Smallest component in mm³ that counts, in the truth and in the segmentation."""

MIN_OVERLAP = 0.1
"""Smallest share of a lesion or a finding in the other mask for a match."""


class LesionScores(NamedTuple):
    """Counts over the connected components (26-neighbourhood) of one subject.

    Attributes:
        lesion_sensitivity: share of the true lesions that were found; NaN without a lesion.
        lesion_precision: share of the findings that are true; NaN without a finding.
        lesion_f1: harmonic mean of both; 0 when nothing matches, NaN without either.
        fp_per_volume: findings that are not true.
    """

    lesion_sensitivity: float
    lesion_precision: float
    lesion_f1: float
    fp_per_volume: float


def lesion_scores(
    segmentation: np.ndarray, truth: np.ndarray, spacing_mm: tuple[float, float, float]
) -> LesionScores:
    """Match the components of two masks.

    Args:
        segmentation: `(D, H, W)` bool.
        truth: `(D, H, W)` bool.
        spacing_mm: edge lengths of a voxel in mm.
    """
    voxels = int(np.ceil(MIN_VOLUME_MM3 / np.prod(spacing_mm) - 1e-6))
    # Components do not depend on the space around them.
    box = (ndimage.find_objects((segmentation | truth).astype(np.uint8)) or [...])[0]
    found, true = (_components(mask[box], voxels) for mask in (segmentation, truth))
    hits, misses = _matched(true, found > 0)
    right, wrong = _matched(found, true > 0)
    lesions, findings = hits + misses, right + wrong
    sensitivity = hits / lesions if lesions else float("nan")
    precision = right / findings if findings else float("nan")
    if lesions == findings == 0:
        f1 = float("nan")
    elif hits == 0 or right == 0:
        f1 = 0.0
    else:
        f1 = 2 * sensitivity * precision / (sensitivity + precision)
    return LesionScores(sensitivity, precision, f1, float(wrong))


def per_region_overlap(score: np.ndarray, regions: np.ndarray, max_fallout: float = 0.3) -> float:
    """Return the area under mean coverage of regions against false positive rate, over its width.

    The PRO curve of Bergmann et al. 2020 (arXiv 1911.02357), section 4.2: every region has the same
    weight, whatever its size. It is exact; ties count together.

    Args:
        score: `(N,)` brain voxels.
        regions: `(N,)` int, 0 outside, 1.. the lesion that a voxel belongs to.
        max_fallout: false positive rate up to which the area counts.

    Returns:
        In [0, 1]; NaN without a region or without a voxel outside.
    """
    inside = regions > 0
    return sorted_overlap(score[inside], regions[inside], np.sort(score[~inside]), max_fallout)


def sorted_overlap(
    score: np.ndarray, regions: np.ndarray, healthy: np.ndarray, max_fallout: float = 0.3
) -> float:
    """Return `per_region_overlap` from already sorted scores of the other voxels.

    Args:
        score: `(P,)` voxels of the lesions.
        regions: `(P,)` int, from 1.
        healthy: `(N,)` rising scores of the brain's other voxels.
        max_fallout: false positive rate up to which the area counts.
    """
    if len(score) == 0 or len(healthy) == 0:
        return float("nan")
    falling = np.unique(score)[::-1]
    above = 1 - np.searchsorted(healthy, falling, side="right") / len(healthy)
    reached = 1 - np.searchsorted(healthy, falling, side="left") / len(healthy)
    return _overlap(score, regions, above, reached, max_fallout)


def curve_overlap(
    score: np.ndarray, regions: np.ndarray, counts: Curve, max_fallout: float = 0.3
) -> float:
    """Return `per_region_overlap` of many images together, from the curve of all their pixels.

    Args:
        score: `(P,)` pixels of the lesions.
        regions: `(P,)` int, from 1; each number belongs to one image.
        counts: curve of all pixels; its lesion scores are those of `score`.
        max_fallout: false positive rate up to which the area counts.
    """
    if len(score) == 0 or counts.negatives == 0:
        return float("nan")
    above, reached = (n / counts.negatives for n in (counts.above, counts.false_positives))
    return _overlap(score, regions, above, reached, max_fallout)


def _overlap(
    score: np.ndarray,
    regions: np.ndarray,
    above: np.ndarray,
    reached: np.ndarray,
    max_fallout: float,
) -> float:
    """Return the area, from false positive rates above and at each distinct lesion score."""
    # A voxel of a region of n voxels, one of k regions, adds 1 / (n k) to the mean coverage.
    sizes = np.bincount(regions)
    weight = 1 / (np.maximum(sizes, 1) * np.count_nonzero(sizes))
    _, place = np.unique(score, return_inverse=True)
    gained = np.bincount(place, weight[regions])[::-1]
    # Coverage is constant between lesion scores and rises along the ties.
    after = np.cumsum(gained)
    fallout = np.r_[0.0, np.stack([above, reached], axis=1).ravel(), 1.0]
    coverage = np.r_[0.0, np.stack([after - gained, after], axis=1).ravel(), 1.0]
    kept = fallout <= max_fallout
    x, y = fallout[kept], coverage[kept]
    if x[-1] < max_fallout:
        x, y = np.append(x, max_fallout), np.append(y, np.interp(max_fallout, fallout, coverage))
    return float(np.trapezoid(y, x) / max_fallout)


def label_lesions(truth: np.ndarray) -> np.ndarray:
    """Return the connected components (26-neighbourhood) of `(D, H, W)` bool, numbered from 1."""
    # cc3d 4.1 fails on isolated voxels that fill a box of odd edges, as two in a row of three do.
    padded = np.pad(truth, [(0, 1)] * truth.ndim)
    labels = cc3d.connected_components(padded, connectivity=26).astype(np.int64)
    return labels[tuple(slice(length) for length in truth.shape)]


def _components(mask: np.ndarray, min_voxels: int) -> np.ndarray:
    labels = label_lesions(mask)
    small = np.bincount(labels.ravel()) < min_voxels
    return np.where(small[labels], 0, labels)


def _matched(labels: np.ndarray, other: np.ndarray) -> tuple[int, int]:
    """Return how many components overlap `other` enough, and how many do not."""
    inside = labels > 0
    sizes = np.bincount(labels[inside])
    covered = np.bincount(labels[inside & other], minlength=len(sizes))
    enough = covered[sizes > 0] >= MIN_OVERLAP * sizes[sizes > 0]
    return int(enough.sum()), int((~enough).sum())

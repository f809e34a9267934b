"""Voxel metrics, exact for every threshold, from one sort of each subject's scores.

Scores and truths are 1D: the voxels of the brain mask. A voxel is positive when its score is
*above* the threshold. Between two neighbouring scores of lesion voxels a falling threshold adds
false positives only. So every metric is determined by the scores of lesion voxels, which are few;
the others are only sorted and counted. Nothing is binned.

The empty-mask policy (docs/explanation/protocol.md#3-metrics):

| truth | segmentation | dice | AP, AUROC |
| --- | --- | --- | --- |
| empty | empty | 1 | undefined (NaN) |
| empty | not | 0 | undefined (NaN) |
| not | empty | 0 | as computed |
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

IN_MEMORY = 2**20
"""Largest array in bytes that stays in memory, because files are limited in number."""


@dataclass(frozen=True)
class SortedScores:
    """Sorted scores of a subject's brain, in two arrays, for voxel metrics.

    Attributes:
        lesion: `(P,)` rising scores of the brain's voxels inside the truth.
        healthy: `(N,)` rising scores of the others.
        missed: number of true voxels outside the brain mask, which no threshold can find; they
            count for Dice.
    """

    lesion: np.ndarray
    healthy: np.ndarray
    missed: int = 0

    @property
    def positives(self) -> int:
        """Voxels in the truth, outside the brain mask included."""
        return len(self.lesion) + self.missed

    def on_disk(self, path: Path) -> "SortedScores":
        """Return the same with `healthy`, the large part, in a file."""
        return replace(self, healthy=spooled(self.healthy, path))


@dataclass(frozen=True)
class Curve:
    """Counts of positive voxels at each distinct score of the lesion voxels, falling.

    Attributes:
        threshold: `(M,)` falling; row i counts the voxels with a score >= it.
        true_positives: `(M,)` int64.
        false_positives: `(M,)` int64.
        above: `(M,)` int64, false positives with a score > threshold: ties need both.
        positives: voxels in the truth, outside the brain mask included.
        negatives: voxels of the brain mask that are not in the truth.
    """

    threshold: np.ndarray
    true_positives: np.ndarray
    false_positives: np.ndarray
    above: np.ndarray
    positives: int
    negatives: int


def spooled(array: np.ndarray, path: Path) -> np.ndarray:
    """Return the array, in the file `path` instead of in memory if it is large.

    An array of a volume is large; those of thousands of slices are not, and each file would stay
    open as long as its array is used.
    """
    if array.nbytes <= IN_MEMORY:
        return array
    np.save(path, array, allow_pickle=False)
    found: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return found


def sort_scores(score: np.ndarray, truth: np.ndarray, missed: int = 0) -> SortedScores:
    """Split and sort a subject's scores.

    Args:
        score: `(N,)` brain voxels, finite.
        truth: `(N,)` bool.
        missed: number of true voxels outside the brain mask.
    """
    return SortedScores(np.sort(score[truth]), np.sort(score[~truth]), missed)


def curve(subjects: Sequence[SortedScores]) -> Curve:
    """Return the curve of all voxels of one or several subjects, read one by one."""
    lesions = [subject.lesion for subject in subjects]
    threshold = np.unique(np.concatenate(lesions)) if lesions else np.zeros(0, np.float32)
    true_positives, false_positives, above = (np.zeros(len(threshold), np.int64) for _ in range(3))
    for subject in subjects:
        true_positives += _count(subject.lesion, threshold)
        false_positives += _count(subject.healthy, threshold)
        above += _count(subject.healthy, threshold, side="right")
    return Curve(
        threshold[::-1],
        true_positives[::-1],
        false_positives[::-1],
        above[::-1],
        positives=sum(subject.positives for subject in subjects),
        negatives=sum(len(subject.healthy) for subject in subjects),
    )


def dice(segmentation: np.ndarray, truth: np.ndarray) -> float:
    """Return 2 TP / (2 TP + FP + FN) of two bool arrays of one shape; 1 if both are empty."""
    total = int(np.count_nonzero(segmentation)) + int(np.count_nonzero(truth))
    return 2.0 * int(np.count_nonzero(segmentation & truth)) / total if total else 1.0


def dice_curve(counts: Curve) -> np.ndarray:
    """Return Dice at each threshold of the curve, `(M,)`."""
    predicted = counts.true_positives + counts.false_positives
    return 2.0 * counts.true_positives / np.maximum(predicted + counts.positives, 1)


def dice_at(subject: SortedScores, thresholds: np.ndarray) -> np.ndarray:
    """Return Dice `(M,)` with positive voxels >= each of `thresholds (M,)`."""
    hits = _count(subject.lesion, thresholds)
    predicted = hits + _count(subject.healthy, thresholds)
    return 2.0 * hits / np.maximum(predicted + subject.positives, 1)


def best_dice(score: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Return the best Dice over all thresholds, and the smallest positive score there.

    It uses the truth, so it is an oracle. NaN twice if the truth is empty.

    Args:
        score: `(N,)` brain voxels, finite.
        truth: `(N,)` bool.
    """
    return curve_best_dice(curve([sort_scores(score, truth)]))


def curve_best_dice(counts: Curve) -> tuple[float, float]:
    """Return `best_dice` from a curve; 0 and NaN if every true voxel is outside the brain mask."""
    if counts.positives == 0:
        return float("nan"), float("nan")
    if len(counts.threshold) == 0:
        return 0.0, float("nan")
    values = dice_curve(counts)
    best = int(values.argmax())
    return float(values[best]), float(counts.threshold[best])


def best_shared_threshold(
    subjects: Sequence[SortedScores], weights: Sequence[float] | None = None
) -> float:
    """Return the smallest positive score with the best mean Dice over subjects, an oracle.

    `weights` of the subjects in that mean are equal by default.

    It is exact over all thresholds, because raising any other threshold to the next score of a
    lesion voxel loses no true positive. NaN if no subject has a lesion voxel in its brain.
    """
    threshold = np.unique(np.concatenate([subject.lesion for subject in subjects]))[::-1]
    if len(threshold) == 0:
        return float("nan")
    total = np.zeros(len(threshold))
    for subject, weight in zip(subjects, weights or [1.0] * len(subjects), strict=True):
        total += weight * dice_at(subject, threshold)
    return float(threshold[total.argmax()])


def just_below(score: float) -> float:
    """Return the largest float32 below a score, the threshold *above* which it is positive."""
    return float(np.nextafter(np.float32(score), np.float32(-np.inf)))


def average_precision(score: np.ndarray, truth: np.ndarray) -> float:
    """Return the sum over thresholds of (R_n - R_(n-1)) P_n, as scikit-learn; NaN without truth.

    Args:
        score: `(N,)` brain voxels, finite.
        truth: `(N,)` bool.
    """
    return curve_average_precision(curve([sort_scores(score, truth)]))


def auroc(score: np.ndarray, truth: np.ndarray) -> float:
    """Return the area under the ROC curve by the trapezoid rule; NaN if a class is absent.

    Args:
        score: `(N,)` brain voxels, finite.
        truth: `(N,)` bool.
    """
    return curve_auroc(curve([sort_scores(score, truth)]))


def precision_recall(counts: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Return precision and recall in the brain at each threshold of the curve, `(M,)`."""
    found = counts.true_positives[-1] if len(counts.threshold) else 0
    predicted = counts.true_positives + counts.false_positives
    return counts.true_positives / predicted, counts.true_positives / max(found, 1)


def curve_average_precision(counts: Curve) -> float:
    """Return `average_precision` from a curve."""
    if len(counts.threshold) == 0:
        return float("nan")
    precision, recall = precision_recall(counts)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def curve_auroc(counts: Curve) -> float:
    """Return `auroc` from a curve: the share of (lesion, healthy) pairs in order; ties count a
    half.
    """
    if len(counts.threshold) == 0 or counts.negatives == 0:
        return float("nan")
    lesions = np.diff(counts.true_positives, prepend=0)
    higher = (counts.false_positives + counts.above) / 2
    return float(1 - (lesions @ higher) / (counts.true_positives[-1] * counts.negatives))


def _count(ordered: np.ndarray, thresholds: np.ndarray, side: str = "left") -> np.ndarray:
    """Count the rising `ordered` that are >= each threshold; > it with `side="right"`."""
    return len(ordered) - np.searchsorted(ordered, thresholds, side=side)  # type: ignore[call-overload]

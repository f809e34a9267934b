"""Voxel metrics of one subject, exact for every threshold from one sorted pass.

Scores and truths are 1D: the voxels of the brain mask. A voxel is positive when its score is
*above* the threshold. The empty-mask policy (PROTOCOL section 3):

| truth | segmentation | dice | AP, AUROC |
| --- | --- | --- | --- |
| empty | empty | 1 | undefined (NaN) |
| empty | not | 0 | undefined (NaN) |
| not | empty | 0 | as computed |
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Curve:
    """What happens as the threshold falls through every distinct score.

    Attributes:
        threshold: `(N,)` distinct scores, falling; row i counts the voxels with a score >= it.
        true_positives: `(N,)` int64.
        false_positives: `(N,)` int64.
        positives: voxels in the truth, outside the brain mask included.
        negatives: voxels of the brain mask that are not in the truth.
    """

    threshold: np.ndarray
    true_positives: np.ndarray
    false_positives: np.ndarray
    positives: int
    negatives: int


def curve(score: np.ndarray, truth: np.ndarray, missed: int = 0) -> Curve:
    """Sorts once and counts; ties move together.

    Args:
        score: `(N,)`, finite.
        truth: `(N,)` bool.
        missed: true voxels outside the brain mask, which no threshold can find; they count for
            Dice.
    """
    order = np.argsort(-score, kind="stable")
    ordered, hits = score[order], truth[order].astype(np.int64)
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    true_positives = np.cumsum(hits)[last] if len(ordered) else np.zeros(0, np.int64)
    return Curve(
        threshold=ordered[last] if len(ordered) else ordered,
        true_positives=true_positives,
        false_positives=last + 1 - true_positives if len(ordered) else true_positives,
        positives=int(hits.sum()) + missed,
        negatives=len(score) - int(hits.sum()),
    )


def dice(segmentation: np.ndarray, truth: np.ndarray) -> float:
    """2 TP / (2 TP + FP + FN) of two bool arrays of one shape; both empty give 1."""
    total = int(segmentation.sum()) + int(truth.sum())
    return 2.0 * int((segmentation & truth).sum()) / total if total else 1.0


def dice_curve(counts: Curve) -> np.ndarray:
    """Dice at each threshold of the curve, `(N,)`."""
    predicted = counts.true_positives + counts.false_positives
    return 2.0 * counts.true_positives / np.maximum(predicted + counts.positives, 1)


def best_dice(score: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """The best Dice over all thresholds and the score from which on voxels are positive there.

    Uses the truth: an oracle. NaN twice when the truth is empty.

    Args:
        score: `(N,)` brain voxels, finite.
        truth: `(N,)` bool.
    """
    return curve_best_dice(curve(score, truth))


def curve_best_dice(counts: Curve) -> tuple[float, float]:
    """`best_dice` from a curve."""
    if counts.positives == 0 or len(counts.threshold) == 0:
        return float("nan"), float("nan")
    values = dice_curve(counts)
    best = int(values.argmax())
    return float(values[best]), float(counts.threshold[best])


def dice_at(counts: Curve, thresholds: np.ndarray) -> np.ndarray:
    """Dice when the voxels with a score >= each of `thresholds (M,)` are positive, `(M,)`."""
    index = np.searchsorted(-counts.threshold, -thresholds, side="right")
    return np.append(0.0, dice_curve(counts))[index]


def best_shared_threshold(curves: Sequence[Curve]) -> float:
    """The score from which on the mean Dice over subjects is best. Uses the truth: an oracle.

    Exact over all thresholds: every subject's Dice changes only at its own scores, so the sum of
    these changes along the scores of all subjects is the mean Dice, up to the number of subjects.
    """
    threshold = np.concatenate([counts.threshold for counts in curves])
    changes = np.concatenate([np.diff(dice_curve(counts), prepend=0.0) for counts in curves])
    order = np.argsort(-threshold, kind="stable")
    ordered, total = threshold[order], np.cumsum(changes[order])
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    return float(ordered[last[total[last].argmax()]])


def just_below(score: float) -> float:
    """The largest float32 below a score: the threshold *above* which that score is positive."""
    return float(np.nextafter(np.float32(score), np.float32(-np.inf)))


def average_precision(score: np.ndarray, truth: np.ndarray) -> float:
    """Sum over thresholds of (R_n - R_(n-1)) P_n, as scikit-learn; NaN without a true voxel.

    Args:
        score: `(N,)` brain voxels, finite.
        truth: `(N,)` bool.
    """
    return curve_average_precision(curve(score, truth))


def auroc(score: np.ndarray, truth: np.ndarray) -> float:
    """Area under the ROC curve by the trapezoid rule; NaN when a class is absent.

    Args:
        score: `(N,)` brain voxels, finite.
        truth: `(N,)` bool.
    """
    return curve_auroc(curve(score, truth))


def precision_recall(counts: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall among the brain's voxels at each threshold of the curve, `(N,)`."""
    predicted = counts.true_positives + counts.false_positives
    found = counts.true_positives[-1] if len(predicted) else 0
    return counts.true_positives / predicted, counts.true_positives / max(found, 1)


def curve_average_precision(counts: Curve) -> float:
    """`average_precision` from a curve."""
    precision, recall = precision_recall(counts)
    if not len(recall) or recall[-1] == 0:
        return float("nan")
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def curve_auroc(counts: Curve) -> float:
    """`auroc` from a curve."""
    _, recall = precision_recall(counts)
    if not len(recall) or recall[-1] == 0 or counts.negatives == 0:
        return float("nan")
    fallout = counts.false_positives / counts.negatives
    return float(np.trapezoid(np.append(0.0, recall), np.append(0.0, fallout)))


def merge(curves: Sequence[Curve]) -> Curve:
    """The curve of all subjects' voxels together, from their curves alone."""
    threshold = np.concatenate([counts.threshold for counts in curves])
    order = np.argsort(-threshold, kind="stable")
    ordered = threshold[order]
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)

    def total(parts: list[np.ndarray]) -> np.ndarray:
        steps = np.concatenate([np.diff(part, prepend=0) for part in parts])
        return np.cumsum(steps[order])[last]

    return Curve(
        threshold=ordered[last],
        true_positives=total([counts.true_positives for counts in curves]),
        false_positives=total([counts.false_positives for counts in curves]),
        positives=sum(counts.positives for counts in curves),
        negatives=sum(counts.negatives for counts in curves),
    )

"""Thresholds for slices as papers choose them, each as in its released code.

All of them use the test labels.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import cc3d
import numpy as np

from brainuad.metrics import voxel
from brainuad.postprocess.smooth import Median

THRESHOLDS = 201
QUANTILES = 200
GRID = 100
MEDIANS = (0, 3, 5, 7)
"""Edges of the median's window, in pixels, among which UniTransAD chooses; 0 for no filter."""

SMALLEST = tuple(range(0, 101, 10))
"""Smallest components, in pixels, among which UniTransAD chooses."""

FOLDS = 5
CANDIDATES = 1000
"""Largest number of thresholds that `best_shared` tries."""

Pair = tuple[np.ndarray, np.ndarray]
"""Score `(H, W)` or `(N, H, W)` float32 and truth, bool, of one shape."""


class Tuned(NamedTuple):
    """Post-processing that UniTransAD's code chooses by labels.

    Attributes:
        median: edge of the window in pixels, 0 for no filter.
        smallest: components with fewer pixels are removed, 0 for none.
        dice: pooled Dice of this choice.
    """

    median: int
    smallest: int
    dice: float


def best_of_thresholds(slices: Iterable[Pair], limits: tuple[float, float]) -> tuple[float, float]:
    """Return the best mean Dice over slices and its threshold, of 201 evenly spaced ones.

    A pixel is positive above the threshold; a slice without truth scores 1 where nothing is
    positive, else 0 (the released evaluation of MAD-AD). Every slice is sorted once.

    Args:
        slices: scores and truths `(N, H, W)`.
        limits: first and last threshold.
    """
    thresholds = np.linspace(*limits, THRESHOLDS)
    total, count = np.zeros(THRESHOLDS), 0
    for score, truth in slices:
        for piece, label in zip(score, truth, strict=True):
            predicted, hits = above(piece, label, thresholds)
            lesion = np.count_nonzero(label)
            total += 2 * hits / np.maximum(predicted + lesion, 1) if lesion else predicted == 0
            count += 1
    best = int(total.argmax())
    return float(total[best] / count), float(thresholds[best])


def best_of_quantiles(
    blocks: Sequence[voxel.SortedScores], ordered: np.ndarray
) -> tuple[float, float]:
    """Return the best pooled Dice and its threshold, by the search of MedIAnomaly's code.

    Every (N/200)-th of all N sorted scores, from the smallest, is a threshold; a pixel is positive
    above it. No threshold lies among the highest half per cent, so that the search is coarse for
    small lesions.

    Args:
        blocks: the pixels, sorted in any number of blocks.
        ordered: `(N,)` scores of all pixels, rising.
    """
    positives = sum(block.positives for block in blocks)
    if not positives:
        return float("nan"), float("nan")
    thresholds = ordered[:: max(ordered.size // QUANTILES, 1)]
    hits, predicted = (np.zeros(len(thresholds), np.int64) for _ in range(2))
    for block in blocks:
        found = _count_above(block.lesion, thresholds)
        hits += found
        predicted += found + _count_above(block.healthy, thresholds)
    dice = 2 * hits / (predicted + positives)
    best = int(dice.argmax())
    return float(dice[best]), float(thresholds[best])


def best_shared(units: Callable[[], Iterable[Pair]]) -> tuple[float, float]:
    """Return the best mean Dice with one threshold for all, and the lowest positive score.

    Exact where the lesions have at most 1,000 different scores; else of 1,000 quantiles of them.

    Args:
        units: returns score and truth of each slice or person with a lesion; called twice.
    """
    lesions = [score[truth] for score, truth in units()]
    candidates = np.unique(np.concatenate(lesions)) if lesions else np.zeros(0, np.float32)
    if not len(candidates):
        return float("nan"), float("nan")
    if len(candidates) > CANDIDATES:
        places = np.linspace(0, len(candidates) - 1, CANDIDATES).round().astype(int)
        candidates = candidates[places]
    total = np.zeros(len(candidates))
    for (score, _), lesion in zip(units(), lesions, strict=True):
        hits, predicted = (_at_least(part, candidates) for part in (lesion, score.ravel()))
        total += 2 * hits / (predicted + lesion.size)
    best = int(total.argmax())
    return float(total[best] / len(lesions)), float(candidates[best])


def tune(slices: Sequence[Pair]) -> Tuned:
    """Choose median filter and smallest component by the best pooled Dice, as UniTransAD's code.

    First the filter, of `MEDIANS`, without a smallest component; then the component, of `SMALLEST`,
    with this filter. Each choice has the best of 100 evenly spaced thresholds (`tune.py`, step 2).

    Args:
        slices: scores and truths `(H, W)`, all of one shape, with a lesion among them.
    """
    best = Tuned(0, 0, -1.0)
    chosen = slices
    for median in MEDIANS:
        filtered = median_filtered(slices, median)
        predicted, hits, true = pooled_counts(filtered, _grid(filtered), (0,))
        dice = float(_dice(predicted, hits, true).max())
        if dice > best.dice:
            best, chosen = Tuned(median, 0, dice), filtered
    predicted, hits, true = pooled_counts(chosen, _grid(chosen), SMALLEST)
    dice = _dice(predicted, hits, true).max(axis=0)
    size = int(dice.argmax())
    return Tuned(best.median, SMALLEST[size], float(dice[size]))


def folds_dice(slices: Sequence[Pair], smallest: int) -> tuple[float, float]:
    """Return mean and standard deviation of Dice over five folds of slices, as UniTransAD's code.

    The threshold with the best pooled Dice on four fifths, of 100 between their extremes, is
    applied to the last fifth (`evaulate.py`). Slices of one person lie on both sides.

    Args:
        slices: scores and truths `(H, W)`, filtered.
        smallest: components with fewer pixels are removed.
    """
    if len(slices) < FOLDS:
        return float("nan"), float("nan")
    lows, highs = (np.array([f(score) for score, _ in slices]) for f in (np.min, np.max))
    true = np.array([np.count_nonzero(truth) for _, truth in slices])
    known: dict[tuple[float, float], tuple[np.ndarray, np.ndarray]] = {}
    values = []
    for held in fold_indices(len(slices)):
        kept = np.setdiff1d(np.arange(len(slices)), held)
        limits = float(lows[kept].min()), float(highs[kept].max())
        if limits not in known:
            thresholds = np.linspace(*limits, GRID).astype(np.float32)
            each = [pooled_counts([pair], thresholds, (smallest,))[:2] for pair in slices]
            known[limits] = tuple(np.array(side)[..., 0] for side in zip(*each, strict=True))  # type: ignore[assignment]
        predicted, hits = known[limits]
        train = _dice(predicted[kept].sum(0), hits[kept].sum(0), true[kept].sum())
        best = int(train.argmax())
        total = predicted[held, best].sum(), hits[held, best].sum(), true[held].sum()
        values.append(float(_dice(*map(np.asarray, total))))
    return float(np.mean(values)), float(np.std(values))


def fold_indices(count: int) -> list[np.ndarray]:
    """Return the test slices of each fold of `KFold(5, shuffle=True, random_state=42)`."""
    order = np.arange(count)
    np.random.RandomState(42).shuffle(order)
    return [np.sort(part) for part in np.array_split(order, FOLDS)]


def median_filtered(slices: Sequence[Pair], edge: int) -> list[Pair]:
    """Return each score filtered by a median over a square of `edge` pixels; 0 for no filter."""
    if edge < 2:
        return list(slices)
    step = Median(edge, in_plane=True)
    filtered = []
    for score, truth in slices:
        plane = step(score[..., None], np.ones((*score.shape, 1), bool), (1.0, 1.0, 1.0))
        filtered.append((plane[..., 0], truth))
    return filtered


def pooled_counts(
    slices: Sequence[Pair], thresholds: np.ndarray, smallest: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count positive and true positive pixels, `(T, S)` each, and all true pixels.

    Args:
        slices: scores and truths `(H, W)`.
        thresholds: `(T,)`; pixels above are positive.
        smallest: `S` sizes below which components are removed.
    """
    predicted, hits = (np.zeros((len(thresholds), len(smallest)), np.int64) for _ in range(2))
    true = 0
    for score, truth in slices:
        true += int(np.count_nonzero(truth))
        if not any(smallest):
            found = above(score, truth, thresholds)
            predicted += found[0][:, None]
            hits += found[1][:, None]
            continue
        highest = score.max()
        for row, threshold in enumerate(thresholds):
            if threshold >= highest:
                break
            found = component_counts(score > threshold, truth, smallest)
            predicted[row] += found[0]
            hits[row] += found[1]
    return predicted, hits, np.asarray(true)


def component_counts(
    mask: np.ndarray, truth: np.ndarray, smallest: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Count the pixels of a mask `(H, W)`, and the true ones, without components below each size.

    Components have 8 neighbours.
    """
    labels = cc3d.connected_components(mask, connectivity=8)
    areas = np.bincount(labels.ravel())
    hits = np.bincount(labels[truth], minlength=len(areas))
    areas[0] = hits[0] = 0
    kept = areas[None] >= np.asarray(smallest)[:, None]
    return (kept * areas).sum(axis=1), (kept * hits).sum(axis=1)


def above(
    score: np.ndarray, truth: np.ndarray, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Count the pixels above each threshold, and the true ones among them, `(T,)` each."""
    ordered, lesion = (
        np.sort(part, axis=None).astype(np.float64) for part in (score, score[truth])
    )
    return _count_above(ordered, thresholds), _count_above(lesion, thresholds)


def _count_above(ordered: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    return ordered.size - np.searchsorted(ordered, thresholds, side="right")


def _at_least(scores: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Count the scores at or above each of the rising candidates."""
    reached = np.searchsorted(candidates, scores, side="right")
    return np.bincount(reached, minlength=len(candidates) + 1)[:0:-1].cumsum()[::-1]


def _grid(slices: Sequence[Pair]) -> np.ndarray:
    low = min(float(score.min()) for score, _ in slices)
    high = max(float(score.max()) for score, _ in slices)
    return np.linspace(low, high, GRID).astype(np.float32)


def _dice(predicted: np.ndarray, hits: np.ndarray, true: np.ndarray) -> np.ndarray:
    return 2 * hits / np.maximum(predicted + true, 1)

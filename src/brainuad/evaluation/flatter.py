"""Effect of each rule of the 2D benchmarks on the scores (docs/explanation/protocol.md#5-slices).

One rule is switched at a time, on the same maps.

Our score is Dice at the healthy threshold: over all slices of a person, then the mean over people
with a lesion, on the prepared grid inside the brain. Mask steps are left out.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from brainuad.evaluation.slice_rules import (
    MEDIANS,
    SMALLEST,
    Pair,
    best_shared,
    component_counts,
)
from brainuad.evaluation.slice_store import SliceStore, framed, sorted_blocks
from brainuad.metrics import voxel

FLATTER_COLUMNS = (
    *("method", "rule", "against", "metric", "threshold", "threshold_value"),
    *("value", "difference", "n"),
)
"""Columns of the table."""

METRICS = ("dice", "auroc", "ap")
OURS = "ours"
SMALL = (64, 64)
"""Size of the maps of MedIAnomaly, and of UniTransAD on BraTS."""

SLICES_MEAN = "mean over lesion slices"
POOLED_BRAIN = "brains pooled"


class Counts(NamedTuple):
    """Numbers of positive, true and true positive pixels, summed over slices."""

    predicted: float
    true: float
    hits: float

    @property
    def dice(self) -> float:
        """Dice; both empty give 1."""
        total = self.predicted + self.true
        return 2 * self.hits / total if total else 1.0


@dataclass
class _Tally:
    """Pixel counts of a threshold's masks, by person and by slice."""

    slices: list[tuple[str, int, Counts]] = field(default_factory=list)
    small: dict[str, np.ndarray] = field(default_factory=lambda: defaultdict(lambda: np.zeros(3)))
    filtered: dict[str, np.ndarray] = field(
        default_factory=lambda: defaultdict(lambda: np.zeros((2, len(MEDIANS), len(SMALLEST))))
    )


def flatter(
    store: SliceStore, healthy: float | None, path: Path, own: dict[str, float], name: str
) -> list[dict[str, Any]]:
    """Return the rows of one method; none where no labelled slice has a lesion.

    Args:
        store: all slices of the test set with brain, on the prepared grid, 0 outside it.
        healthy: healthy threshold on that grid; None to start the table from the oracle's.
        path: start of the names of files to write.
        own: the benchmark's dice, auroc and ap with all its rules.
        name: name of the benchmark.
    """
    store = store.labelled()
    people = {person: part for person, part in store.of_people().items() if part.has_lesions}
    if not people:
        return []
    oracle, lowest = best_shared(lambda: _flat(people))
    threshold = voxel.just_below(lowest) if healthy is None else healthy
    variant = "oracle" if healthy is None else "healthy"
    tally = _tally(store, threshold)
    ours = _mean_over_people(tally, set(people))
    rows: list[dict[str, Any]] = []

    def add(rule: str, value: float, n: int, metric: str = "dice", **other: Any) -> None:
        row: dict[str, Any] = {"rule": rule, "against": OURS, "metric": metric}
        row |= {"threshold": "none", "value": value, "n": n}
        if metric == "dice":
            row |= {"threshold": variant, "threshold_value": threshold}
        rows.append(row | other)

    add(OURS, ours, len(people), against="")
    if healthy is not None:
        value = voxel.just_below(lowest)
        add("oracle threshold", oracle, len(people), threshold="oracle", threshold_value=value)
    largest = _largest(tally)
    add("largest slice only", float(np.mean(largest)), len(largest))
    small = [Counts(*sums).dice for sums in tally.small.values() if sums[1]]
    add("64 x 64 maps", _mean(small), len(small))
    add("all pixels pooled", _total(tally).dice, len(tally.slices))
    sick = [counts.dice for _, _, counts in tally.slices if counts.true]
    add(SLICES_MEAN, _mean(sick), len(sick))
    every = [counts.dice for _, _, counts in tally.slices]
    add("empty slices count 1", _mean(every), len(every), against=SLICES_MEAN)
    add("filter by oracle", _best_filter(tally, set(people)), len(people))
    _add_areas(add, people, store, path)
    for metric, value in own.items():
        add(f"all of {name}", value, len(store), metric, threshold="", threshold_value=None)
    # Rows by metric, ours first and the benchmark's last.
    rows.sort(key=lambda row: METRICS.index(row["metric"]))
    return [{"difference": _difference(row, rows)} | row for row in rows]


def _add_areas(add: Any, people: dict[str, SliceStore], store: SliceStore, path: Path) -> None:
    """Add AUROC and AP: by person, pooled, and with the background."""
    singles: dict[str, list[float]] = {"auroc": [], "ap": []}
    for part in people.values():
        inside = [(s.score[s.brain], s.truth[s.brain]) for s in part]
        score, truth = (np.concatenate(side) for side in zip(*inside, strict=True))
        curve = voxel.curve([voxel.sort_scores(score, truth)])
        singles["auroc"].append(voxel.curve_auroc(curve))
        singles["ap"].append(voxel.curve_average_precision(curve))
    pooled = []
    for brain_only in (True, False):
        blocks = sorted_blocks(store, path.with_name(f"{path.name}{brain_only}"), brain_only)
        curve = voxel.curve(blocks)
        pooled.append(
            {"auroc": voxel.curve_auroc(curve), "ap": voxel.curve_average_precision(curve)}
        )
    for metric, values in singles.items():
        add(OURS, float(np.nanmean(values)), len(values), metric, against="")
        add(POOLED_BRAIN, pooled[0][metric], len(store), metric)
        add("with background", pooled[1][metric], len(store), metric, against=POOLED_BRAIN)


def _tally(store: SliceStore, threshold: float) -> _Tally:
    """Return the pixel counts of all slices, read once."""
    tally = _Tally()
    for piece in store:
        mask = piece.score > threshold
        counts = _counts(mask, piece.truth)
        tally.slices.append((piece.person, piece.area, counts))
        small = framed([piece], SMALL)[0]
        tally.small[piece.person] += _counts(small.score > threshold, small.truth)
        for row, edge in enumerate(MEDIANS):
            found = component_counts(median_mask(mask, edge), piece.truth, SMALLEST)
            tally.filtered[piece.person][:, row] += found
    return tally


def median_mask(mask: np.ndarray, edge: int) -> np.ndarray:
    """Return the pixels above a threshold after a median filter, from those before it.

    A median is above where more than half of its window is; the edge of the image is mirrored.

    Args:
        mask: `(H, W)` bool, the score above the threshold.
        edge: odd edge of the window; 0 for no filter.
    """
    if edge < 2:
        return mask
    ones = np.ones(edge, np.int32)
    count = ndimage.correlate1d(mask.astype(np.int32), ones, axis=0, mode="reflect")
    count = ndimage.correlate1d(count, ones, axis=1, mode="reflect")
    return np.asarray(2 * count > edge * edge)


def _counts(mask: np.ndarray, truth: np.ndarray) -> Counts:
    return Counts(*map(int, map(np.count_nonzero, (mask, truth, mask & truth))))


def _flat(people: dict[str, SliceStore]) -> Iterator[Pair]:
    """Yield score and truth of each person's slices together."""
    for part in people.values():
        pairs = [(piece.score.ravel(), piece.truth.ravel()) for piece in part]
        score, truth = (np.concatenate(side) for side in zip(*pairs, strict=True))
        yield score, truth


def _mean_over_people(tally: _Tally, people: set[str]) -> float:
    sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(3))
    for person, _, counts in tally.slices:
        sums[person] += counts
    return _mean([Counts(*found).dice for name, found in sums.items() if name in people])


def _largest(tally: _Tally) -> list[float]:
    """Return Dice of each person's slice with the largest lesion."""
    best: dict[str, tuple[int, float]] = {}
    for person, area, counts in tally.slices:
        if area > best.get(person, (0, 0.0))[0]:
            best[person] = (area, counts.dice)
    return [dice for _, dice in best.values()]


def _total(tally: _Tally) -> Counts:
    return Counts(*np.sum([counts for _, _, counts in tally.slices], axis=0))


def _best_filter(tally: _Tally, people: set[str]) -> float:
    """Return the best mean over people of any filter and smallest component."""
    true: dict[str, int] = defaultdict(int)
    for person, _, counts in tally.slices:
        true[person] += int(counts.true)
    total = np.zeros((len(MEDIANS), len(SMALLEST)))
    for person in people:
        predicted, hits = tally.filtered[person]
        total += 2 * hits / (predicted + true[person])
    return float(total.max() / len(people))


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _difference(row: dict[str, Any], rows: list[dict[str, Any]]) -> float:
    """Return a row's value minus that of the row it is compared with."""
    for other in rows:
        if (other["rule"], other["metric"]) == (row["against"], row["metric"]):
            return float(row["value"] - other["value"])
    return float("nan")

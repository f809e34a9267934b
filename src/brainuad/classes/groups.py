"""Group findings into classes by their features, without labels.

A finding counts by its volume times its contrast, and each scan counts alike: specks and faint
findings, most of which are false, do not decide. A finding is described by its own features and by
the weighted mean of its scan's findings: many alike in one scan are one disease. AnomalyNCD also
lets each region vote by its area for the class of an image.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from brainuad.errors import InputError

GROUPED = (
    *("volume_mm3", "elongation", "compactness", "depth_mm", "nearest_mm", "ventricle_mm"),
    *("lateral_mm", "cortex", "alike"),
)
"""Features that the classes depend on. Brightness is left out: it tells the age of a lesion, and
the scanner, rather than its kind. `experiments/classes` has what it would change.
"""

LOGARITHMIC = ("volume_mm3", "elongation", "alike")
"""Features of which the logarithm is taken: their ratios matter."""

COUNTS = range(2, 7)
"""Numbers of classes that are tried where none is given."""

FARTHEST = 3.0
"""Largest distance of a feature from its mean that counts, in standard deviations."""

MOST_CONTRAST = 3.0
"""Contrast from which a finding is fully visible, in robust standard deviations of the brain."""

STARTS = 20
"""Random starts of k-means, of which the best is kept."""


@dataclass(frozen=True)
class Classes:
    """Classes of findings.

    Attributes:
        table: the findings with `weight`, `alike` (effective number of findings in the scan),
            `class` (from 1, those of most weight first), `scan_class` (that of most weight in the
            scan) and `typical` (from -1 to 1: how much nearer to its own class than to another).
        silhouettes: number of classes to mean of `typical`, for each number that was tried.
        given: whether the user gave the number.
    """

    table: pd.DataFrame
    silhouettes: dict[int, float]
    given: bool


def grouped(table: pd.DataFrame, count: int | None = None) -> Classes:
    """Return the classes of findings by weighted k-means.

    Args:
        table: one row per finding, `scan_id` and `features.FEATURES`.
        count: number of classes; None for that with the largest mean silhouette.

    Raises:
        InputError: there are fewer findings than classes, or fewer than 3.
    """
    least = max(count or 2, 2) + 1
    if len(table) < least:
        raise InputError(
            f"{len(table)} findings are too few for {count or 'two or more'} classes; give the "
            "results of more scans"
        )
    table = weighted(table)
    points, weights = _points(table), table["weight"].to_numpy()
    tried = [count] if count else [k for k in COUNTS if k < len(table)]
    found = {k: _clustered(points, weights, k) for k in tried}
    typical = {k: _typical(points, labels) for k, labels in found.items()}
    silhouettes = {k: float(np.average(values, weights=weights)) for k, values in typical.items()}
    best = max(silhouettes, key=lambda k: silhouettes[k])
    share = np.bincount(found[best], weights, best)
    rank = np.empty(best, int)
    rank[np.argsort(-share, kind="stable")] = np.arange(1, best + 1)
    table["class"] = rank[found[best]]
    votes = table.pivot_table("weight", "scan_id", "class", "sum", fill_value=0.0)
    table["scan_class"] = table["scan_id"].map(votes.idxmax(axis=1))
    table["typical"] = typical[best]
    return Classes(table, silhouettes, count is not None)


def weighted(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with `weight`, 1 in all per scan, and `alike`, the effective number."""
    table = table.reset_index(drop=True).copy()
    scan = table["scan_id"]
    # A finding without brain around it, or of the same brightness, still has some weight.
    seen = table["contrast"].abs().fillna(0.0).clip(0.01, MOST_CONTRAST)
    mass = table["volume_mm3"] * seen
    table["weight"] = mass / mass.groupby(scan).transform("sum")
    # 1 where one finding holds all weight, n where n have the same.
    table["alike"] = 1 / (table["weight"] ** 2).groupby(scan).transform("sum")
    return table


def _points(table: pd.DataFrame) -> np.ndarray:
    """Return `(N, 2 k)`: standardised features of each finding, and of its scan."""
    values = table[list(GROUPED)].astype(float)
    for name in LOGARITHMIC:
        values[name] = np.log10(values[name].clip(lower=1e-6))
    # A feature that is unknown for one finding does not move it.
    values = values.fillna(values.median()).fillna(0.0)
    weights = table["weight"].to_numpy()
    of_scan = values.mul(weights, axis=0).groupby(table["scan_id"]).transform("sum")
    parts = [_standardised(part.to_numpy(), weights) for part in (values, of_scan)]
    return np.hstack(parts) / np.sqrt(2)


def _standardised(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    mean = np.average(values, axis=0, weights=weights)
    spread = np.sqrt(np.average((values - mean) ** 2, axis=0, weights=weights))
    return np.clip((values - mean) / np.where(spread > 1e-9, spread, 1.0), -FARTHEST, FARTHEST)


def _clustered(points: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    # scikit-learn takes a second to import.
    from sklearn.cluster import KMeans

    if len(np.unique(points, axis=0)) < count:
        raise InputError(f"the findings are too alike for {count} classes; give --classes 2")
    means = KMeans(count, n_init=STARTS, random_state=0)
    return np.asarray(means.fit(points, sample_weight=weights).labels_)


def _typical(points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    from sklearn.metrics import silhouette_samples

    return np.asarray(silhouette_samples(points, labels))

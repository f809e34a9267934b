"""Summaries over subjects."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats


class Summary(NamedTuple):
    """Mean over subjects with its uncertainty.

    Attributes:
        n: number of defined values.
        mean: NaN when there is none.
        std: sample standard deviation (n - 1); NaN below two values.
        ci_low: lower end of the bootstrap interval of the mean.
        ci_high: upper end.
        undefined: number of NaN values, which are left out.
    """

    n: int
    mean: float
    std: float
    ci_low: float
    ci_high: float
    undefined: int


def bootstrap_interval(
    values: np.ndarray, resamples: int = 2000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean.

    See docs/explanation/protocol.md#3-metrics.

    Args:
        values: `(N,)` without NaN.
        resamples: draws with replacement.
        seed: random seed of the draws.
        level: confidence level of the interval.

    Returns:
        Lower and upper end; NaN for no value.
    """
    if len(values) == 0:
        return float("nan"), float("nan")
    index = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    means = values[index].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def by_person(values: np.ndarray, people: Sequence[str]) -> np.ndarray:
    """Return the mean of each person's values, because a person's scans are not independent.

    Args:
        values: `(..., N)`, NaN where undefined.
        people: person of each value, `(N,)`.

    Returns:
        `(..., P)` in the order of each person's first value, NaN if all of a person's values are;
        `values` themselves if everybody has one.
    """
    order = list(dict.fromkeys(people))
    if len(order) == len(people):
        return values
    number = {person: i for i, person in enumerate(order)}
    place = np.array([number[person] for person in people])
    flat = values.reshape(-1, len(people))
    total, count = np.zeros((len(flat), len(order))), np.zeros((len(flat), len(order)))
    for row, sums, counts in zip(flat, total, count, strict=True):
        known = ~np.isnan(row)
        np.add.at(sums, place[known], row[known])
        np.add.at(counts, place[known], 1)
    with np.errstate(invalid="ignore"):
        return (total / count).reshape(*values.shape[:-1], len(order))


def summarise(values: np.ndarray, seed: int = 0) -> Summary:
    """Return mean, spread and interval of `(N,)` values; NaN are counted and left out."""
    defined = values[~np.isnan(values)]
    low, high = bootstrap_interval(defined, seed=seed)
    return Summary(
        n=len(defined),
        mean=float(defined.mean()) if len(defined) else float("nan"),
        std=float(defined.std(ddof=1)) if len(defined) > 1 else float("nan"),
        ci_low=low,
        ci_high=high,
        undefined=len(values) - len(defined),
    )


def paired_wilcoxon(first: np.ndarray, second: np.ndarray) -> float:
    """Return the two-sided p of the Wilcoxon signed-rank test.

    See docs/explanation/protocol.md#6-comparisons.

    Args:
        first: `(N,)` values of one method, one per subject.
        second: `(N,)` values of another for the same subjects.

    Returns:
        1 when all pairs are equal; NaN without a pair.
    """
    difference = first - second
    difference = difference[~np.isnan(difference)]
    if len(difference) == 0:
        return float("nan")
    if not difference.any():
        return 1.0
    return float(stats.wilcoxon(difference).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm-adjusted p-values (Holm 1979), in the given order.

    NaN stays NaN and is not counted as a test.
    """
    p = np.asarray(p_values, dtype=float)
    adjusted = np.full(len(p), np.nan)
    order = [i for i in np.argsort(p) if not np.isnan(p[i])]
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p[index]))
        adjusted[index] = largest
    return adjusted.tolist()

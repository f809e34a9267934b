import numpy as np
import pytest
from scipy import stats

from brainuad.metrics.statistics import (
    bootstrap_interval,
    by_person,
    holm,
    paired_wilcoxon,
    summarise,
)


def test_summary_by_hand_counts_the_undefined():
    found = summarise(np.array([1.0, 2.0, 3.0, np.nan]))
    assert (found.n, found.mean, found.std, found.undefined) == (3, 2.0, 1.0, 1)
    assert 1 <= found.ci_low < 2 < found.ci_high <= 3


def test_nothing_defined():
    found = summarise(np.array([np.nan]))
    assert found.n == 0
    assert np.isnan([found.mean, found.std, found.ci_low]).all()
    assert np.isnan(summarise(np.array([1.0])).std)


def test_interval_agrees_with_scipy_and_is_reproducible():
    values = np.random.default_rng(0).normal(5, 2, 60)
    found = bootstrap_interval(values)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=2000, method="percentile", rng=1
    ).confidence_interval
    assert found == pytest.approx((theirs.low, theirs.high), abs=0.05)
    assert bootstrap_interval(values) == found != bootstrap_interval(values, seed=1)


def test_a_higher_level_is_wider():
    values = np.arange(20.0)
    narrow, wide = bootstrap_interval(values, level=0.5), bootstrap_interval(values, level=0.99)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_wilcoxon_is_scipys_on_the_pairs_that_are_defined():
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.2, 1, 15), rng.normal(0, 1, 15)
    expected = stats.wilcoxon(first, second).pvalue
    assert paired_wilcoxon(first, second) == expected == paired_wilcoxon(second, first)
    extended = np.append(first, np.nan), np.append(second, 1.0)
    assert paired_wilcoxon(*extended) == expected


def test_wilcoxon_by_hand():
    # Six differences of one sign: the smallest of 2 ** 6 outcomes, on both sides.
    assert paired_wilcoxon(np.arange(1.0, 7), np.zeros(6)) == pytest.approx(2 / 64)
    assert paired_wilcoxon(np.ones(3), np.ones(3)) == 1
    assert np.isnan(paired_wilcoxon(np.array([np.nan]), np.ones(1)))


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.04 times 3, 2, 1; the running maximum keeps the order.
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.9, 0.8]) == [1, 1]
    found = holm([0.01, np.nan, 0.5])
    assert found[0] == pytest.approx(0.02)
    assert np.isnan(found[1])
    assert holm([]) == []


def test_a_person_counts_once_however_many_scans_there_are():
    values = np.array([0.0, 1.0, np.nan, 0.2, np.nan])
    people = ["a", "b", "b", "a", "c"]
    np.testing.assert_allclose(by_person(values, people), [0.1, 1.0, np.nan])
    both = by_person(np.stack([values, 2 * values]), people)
    np.testing.assert_allclose(both, [[0.1, 1.0, np.nan], [0.2, 2.0, np.nan]])
    assert by_person(values, list("abcde")) is values
    # A hundred scans of one person are no evidence of a hundred people.
    many = np.concatenate([np.ones(100), np.zeros(2)])
    found = summarise(by_person(many, ["x"] * 100 + ["y", "z"]))
    assert found.n == 3
    assert found.mean == pytest.approx(1 / 3)
    assert found.ci_low == 0

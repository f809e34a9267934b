import numpy as np
import pytest
from scipy import stats

from brainuad.metrics.statistics import bootstrap_interval, summarise


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

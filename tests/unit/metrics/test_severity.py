import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from brainuad.metrics.severity import concordance, spearman

values = arrays(float, 8, elements=st.integers(0, 5).map(float))


def test_by_hand():
    burden = np.array([0.0, 10.0, 20.0, 20.0])
    score = np.array([0.1, 0.3, 0.2, 0.3])
    # Pairs of different burden: 5. In order: 3 and one tie; 10 before 20 is turned once.
    assert concordance(score, burden) == pytest.approx((3 + 0.5) / 5)
    assert spearman(np.array([1.0, 2, 3]), np.array([2.0, 5, 9])) == pytest.approx(1)
    assert spearman(np.array([3.0, 2, 1]), np.array([2.0, 5, 9])) == pytest.approx(-1)


def test_undefined():
    same = np.ones(4)
    assert np.isnan(concordance(np.arange(4.0), same))
    assert np.isnan(spearman(np.arange(4.0), same))
    assert np.isnan(spearman(np.ones(1), np.ones(1)))


@given(score=values, burden=values)
def test_turning_the_score_turns_the_measures(score, burden):
    found = concordance(score, burden)
    assert concordance(-score, burden) == pytest.approx(1 - found, nan_ok=True)
    assert concordance(np.exp(score), burden) == pytest.approx(found, nan_ok=True)
    assert spearman(-score, burden) == pytest.approx(-spearman(score, burden), nan_ok=True)

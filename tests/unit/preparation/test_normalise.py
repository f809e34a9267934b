import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainuad.preparation.normalise.intensity import Equalise, Mode, Nyul, Percentile, ZScore

RNG = np.random.default_rng(0)
MASK = np.zeros((12, 12, 12), bool)
MASK[2:-2, 2:-2, 2:-2] = True


def brain(scale=1.0, shift=0.0, seed=0):
    """Two tissues and some CSF, with noise."""
    rng = np.random.default_rng(seed)
    values = rng.choice([20.0, 100.0, 160.0], MASK.shape, p=[0.1, 0.4, 0.5])
    return scale * (values + rng.normal(0, 5, MASK.shape)) + shift


ALL = [Percentile(), ZScore(), Mode(), Equalise(), Nyul().fitted([(brain(), MASK)])]


@pytest.mark.parametrize("normalise", ALL, ids=lambda n: type(n).__name__)
@settings(max_examples=10, deadline=None)
@given(scale=st.floats(0.01, 50))
def test_in_range_zero_outside_and_blind_to_the_scanners_gain(normalise, scale):
    image = brain()
    found = normalise(image, MASK)
    assert found.dtype == np.float32
    assert (found[~MASK] == 0).all()
    assert found.min() >= 0
    assert found.max() <= 1
    assert normalise(scale * image, MASK)[MASK] == pytest.approx(found[MASK], abs=0.01)
    # Brighter stays brighter, ties apart.
    order = np.argsort(image[MASK])
    assert (np.diff(found[MASK][order]) >= -1e-6).all()


@pytest.mark.parametrize("normalise", ALL, ids=lambda n: type(n).__name__)
def test_an_empty_brain_is_refused(normalise):
    with pytest.raises(ValueError, match="the brain mask is empty"):
        normalise(brain(), np.zeros_like(MASK))


@pytest.mark.parametrize("normalise", [n for n in ALL if not isinstance(n, Equalise)])
def test_a_constant_brain_is_refused(normalise):
    with pytest.raises(ValueError, match="constant"):
        normalise(np.ones(MASK.shape), MASK)


def test_by_hand():
    image, mask = np.arange(101.0).reshape(101, 1, 1), np.ones((101, 1, 1), bool)
    assert Percentile(10, 90)(image, mask).ravel()[[10, 50, 90]].tolist() == pytest.approx(
        [0, 0.5, 1]
    )
    mean, std = image.mean(), image.std()
    assert ZScore(-1, 1)(image, mask)[60, 0, 0] == pytest.approx((60 - mean + std) / (2 * std))
    assert Equalise()(image, mask)[49, 0, 0] == pytest.approx(50 / 101)


def test_the_mode_is_the_tissue_that_fills_the_brain():
    image = brain()
    found = Mode(0.5)(image, MASK)
    white = found[MASK][np.abs(image[MASK] - 160) < 3]
    assert white.mean() == pytest.approx(0.5, abs=0.03)
    # A bright lesion of a twentieth of the brain moves the percentile's scale, not this one.
    sick = image.copy()
    sick[2, 2:5] = 400
    again = Mode(0.5)(sick, MASK)
    assert again[6][MASK[6]] == pytest.approx(found[6][MASK[6]], abs=0.03)


def test_nyul_brings_other_histograms_onto_the_training_ones():
    training = [(brain(scale, shift, seed), MASK) for seed, (scale, shift) in
                enumerate([(1, 0), (3, 40), (0.2, 5)])]  # fmt: skip
    fitted = Nyul().fitted(training)
    assert np.all(np.diff(fitted.standard) > 0)
    # A scan whose contrast is bent comes out with the standard landmarks.
    bent = np.sqrt(brain(seed=9).clip(0))
    found = fitted(bent, MASK)
    landmarks = np.percentile(found[MASK], fitted.percentiles)
    assert landmarks == pytest.approx(fitted.standard, abs=0.01)
    with pytest.raises(ValueError, match="not fitted"):
        Nyul()(bent, MASK)
    with pytest.raises(ValueError, match="no training scan"):
        Nyul().fitted([])


def test_nyul_bears_ties_of_coarse_scans():
    fitted = Nyul().fitted([(brain(), MASK)])
    coarse = np.round(brain() / 40)
    found = fitted(coarse, MASK)
    assert np.isfinite(found).all()
    assert len(np.unique(found[MASK])) == len(np.unique(coarse[MASK]))

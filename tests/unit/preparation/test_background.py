"""What a scan calls background is 0 after reading, and nothing else changes without a word."""

import numpy as np
import pytest

from brainuad.preparation.background import cleared

RNG = np.random.default_rng(0)
SHAPE = (24, 26, 22)
AXES = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
BALL = sum(axis**2 for axis in AXES) < 0.6
SIGNAL = 400 + 300 * RNG.random(SHAPE)
NOISE = 20 * np.abs(RNG.standard_normal(SHAPE))


def brain(background):
    return np.where(BALL, SIGNAL, background).astype(np.float32)


def _undershot():
    """A brain that was interpolated by splines: beside its edge lies less than nothing."""
    array = brain(0)
    ring = sum(axis**2 for axis in AXES) < 0.75
    return np.where(ring & ~BALL, -60, array).astype(np.float32)


UNCHANGED = {
    "an empty background": brain(0),
    "a head in noise": brain(NOISE),
    "a head in whole noise": brain(NOISE.round()),
    "a head in noise around 30": brain(30 + NOISE),
    "air of one grey level": brain(4),
    "a tight box of tissue": SIGNAL[8:16, 8:16, 8:16].astype(np.float32),
    "splines": _undershot(),
    "one value": np.full(SHAPE, 7, np.float32),
}


@pytest.mark.parametrize("name", UNCHANGED)
def test_usual_scans_stay_as_they_are(name):
    found, said = cleared(UNCHANGED[name])
    assert found is UNCHANGED[name]
    assert not said


@pytest.mark.parametrize("value", [-1024, -50, 50, 100, 4095])
def test_a_background_of_one_value_becomes_0_and_the_brain_stays(value):
    found, said = cleared(brain(value))
    assert np.array_equal(found, brain(0))
    assert said == f"its background of {value} is taken for 0"


def test_a_background_among_the_brains_own_values_costs_its_edge_little():
    found, _ = cleared(brain(550))
    assert not found[~BALL].any()
    assert (found[BALL] == brain(0)[BALL]).mean() > 0.99


def test_what_interpolation_left_beside_the_background_goes_with_it():
    array = brain(100)
    array[2:4, 2:4, 2:4] = 102
    assert np.array_equal(cleared(array)[0], brain(0))


def test_a_background_that_is_nearly_0_needs_no_word():
    found, said = cleared(brain(8))
    assert np.array_equal(found, brain(0))
    assert not said


def test_voxels_of_the_brain_that_look_like_background_stay():
    array = brain(100)
    array[11:13, 12:14, 10:12] = 100
    assert (cleared(array)[0][11:13, 12:14, 10:12] == 100).all()


@pytest.mark.parametrize("background", [0, "lowest", "noise"])
def test_intensities_below_0_are_shifted_and_none_is_lost(background):
    signal = (SIGNAL - SIGNAL.mean()) / SIGNAL.std()
    outside = {0: 0, "lowest": signal[BALL].min(), "noise": -4 + NOISE / 100}[background]
    array = np.where(BALL, signal, outside).astype(np.float32)
    found, said = cleared(array)
    assert said.startswith("intensities below 0: all are shifted by ")
    assert found.min() >= 0
    # But for those at the edge that have the background's value by chance.
    assert (found[BALL] == 0).mean() < 0.01
    kept = BALL & (found > 0)
    assert np.allclose(np.diff(found[kept]), np.diff(array[kept]), atol=1e-5)
    assert background == "noise" or not found[~BALL].any()


def test_air_that_is_stored_below_0_is_0_again():
    """16 bits with an intercept of -1024."""
    found, said = cleared(brain(0) - 1024)
    assert np.allclose(found, brain(0), atol=1e-3)
    assert "shifted by 1024" in said

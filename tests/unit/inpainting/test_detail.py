"""Detail from a mirror image whose content is known."""

import numpy as np
import pytest

from brainuad.inpainting.detail import with_mirrored_detail

SHAPE = (41, 30, 20)
SPACING = (2.0, 2.0, 2.0)


@pytest.fixture(name="scene")
def _scene():
    """A symmetric brain with fine stripes, its hole on one side filled with their mean."""
    x, y, z = np.indices(SHAPE)
    brain = (np.abs(x - 20) < 18) & (y > 2) & (y < 27) & (z > 1) & (z < 18)
    truth = np.where(brain, 0.5 + 0.2 * np.sign((y % 4) - 1.5), 0).astype(np.float32)
    hole = (np.abs(x - 10) < 6) & (np.abs(y - 14) < 8) & (np.abs(z - 10) < 5)
    return truth, brain, hole


def test_a_smooth_filling_gets_the_stripes_of_the_other_side(scene):
    truth, brain, hole = scene
    filled = np.where(hole, np.float32(0.5), truth)
    found = with_mirrored_detail(filled, hole, brain, SPACING)
    assert found.dtype == filled.dtype
    assert np.array_equal(found[~hole], filled[~hole])
    assert np.abs(found - truth)[hole].max() < 0.03 < np.abs(filled - truth)[hole].min()


def test_what_is_larger_is_the_fillings_own(scene):
    truth, brain, hole = scene
    # Darker by 0.2 on the whole, as a bias field would have it.
    dark = np.where(brain, truth - 0.2, 0).astype(np.float32)
    filled = np.where(hole, np.float32(0.3), dark)
    brighter = filled.copy()
    brighter[21:] = np.where(brain[21:], truth[21:], 0)
    found = with_mirrored_detail(brighter, hole, brain, SPACING)
    assert found[hole].mean() == pytest.approx(0.3, abs=0.02)


def test_nothing_is_taken_from_a_hole_nor_from_outside_the_brain(scene):
    truth, brain, hole = scene
    filled = np.where(hole | hole[::-1], np.float32(0.5), truth)
    found = with_mirrored_detail(filled, hole | hole[::-1], brain, SPACING)
    assert np.array_equal(found, filled)
    lopsided = brain.copy()
    lopsided[28:31] = False
    filled = np.where(hole, np.float32(0.5), np.where(lopsided, truth, 0))
    found = with_mirrored_detail(filled, hole, lopsided, SPACING)
    assert np.array_equal(found[10:13], filled[10:13])
    assert not np.array_equal(found, filled)


def test_a_brain_beside_the_middle_is_left_as_it_is(scene):
    truth, brain, hole = scene
    filled = np.where(hole, np.float32(0.5), truth)
    moved = [np.roll(array, -8, axis=0) for array in (filled, hole, brain)]
    assert with_mirrored_detail(*moved, SPACING) is moved[0]

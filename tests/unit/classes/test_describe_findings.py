"""Features of findings with known size, shape, place and contrast."""

import numpy as np
import pytest
from nibabel.affines import apply_affine

from brainuad.classes.features import FEATURES, describe, way_to_mni
from brainuad.volumes.template import load_template

SHAPE = (40, 40, 40)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
AFFINE[:3, 3] = -39
GRID = np.indices(SHAPE)
MIDDLE = np.linalg.norm(GRID - 19.5, axis=0)
BRAIN = MIDDLE < 18


def _image():
    noise = np.random.default_rng(0).normal(0, 10, SHAPE)
    return np.where(BRAIN, 100 + noise, 0).astype(np.float32)


def _ball(centre, radius):
    return np.linalg.norm(GRID - np.reshape(centre, (3, 1, 1, 1)), axis=0) <= radius


@pytest.fixture(scope="module")
def table():
    labels = np.zeros(SHAPE, np.int32)
    labels[_ball((12, 20, 20), 4)] = 1
    labels[26:34, 19:21, 19:21] = 2
    image = _image()
    image[labels == 1] += 60
    return describe(labels, image, BRAIN, AFFINE).set_index("finding")


def test_size_and_shape(table):
    ball, rod = table.loc[1], table.loc[2]
    assert ball.volume_mm3 == 8 * _ball((12, 20, 20), 4).sum()
    assert rod.volume_mm3 == 8 * 32
    assert ball.elongation == pytest.approx(1.0, abs=0.02)
    # A box of 16 x 4 x 4 mm: the spreads along its axes have the ratio of its edges.
    assert rod.elongation == pytest.approx(4.0, abs=1e-6)
    assert ball.compactness > 0.95
    assert rod.compactness < 0.65


def test_depth_and_side(table):
    # The centre of the ball lies 15 mm from the mid-plane, the brain's radius is 36 mm.
    assert table.lateral_mm[1] == pytest.approx(15, abs=0.5)
    assert table.nearest_mm[1] == pytest.approx(36 - 15 - 8, abs=2.5)
    assert table.depth_mm[1] > table.nearest_mm[1]
    assert table.nearest_mm[2] < table.nearest_mm[1]


def test_contrast_is_in_standard_deviations_of_the_brain(table):
    assert table.contrast[1] == pytest.approx(6, abs=0.8)
    assert table.mirror[1] == pytest.approx(6, abs=1.2)
    assert abs(table.contrast[2]) < 1
    assert table.edge[1] > 3 * table.edge[2]
    assert table.spread[1] == pytest.approx(1, abs=0.2)


def test_no_feature_is_missing_in_a_volume_and_place_is_unknown_in_a_plane(table):
    assert table[list(FEATURES)].notna().all(axis=None)
    labels = np.zeros(SHAPE, np.int32)
    labels[_ball((12, 20, 20), 4)] = 1
    plane = describe(labels[..., 20:21], _image()[..., 20:21], BRAIN[..., 20:21], AFFINE)
    assert plane[["ventricle_mm", "cortex"]].isna().all(axis=None)
    assert plane.compactness[0] > 0.9
    assert plane.elongation[0] == pytest.approx(1.0, abs=0.02)
    assert plane.nearest_mm[0] > 5


def test_another_spacing_gives_nearly_the_same_features():
    labels = np.zeros(SHAPE, np.int32)
    labels[_ball((12, 20, 20), 4)] = 1
    coarse = describe(labels, _image(), BRAIN, AFFINE)
    fine_affine = AFFINE @ np.diag([1.0, 1.0, 0.5, 1.0])
    twice = (np.repeat(array, 2, axis=2) for array in (labels, _image(), BRAIN))
    fine = describe(*twice, fine_affine)
    for name in ("volume_mm3", "elongation", "lateral_mm", "depth_mm"):
        assert fine[name][0] == pytest.approx(coarse[name][0], rel=0.06), name


def test_a_brain_in_mni_stays_and_another_is_laid_on_the_box():
    template = load_template(2.0)
    brain = template.brain > 0.5
    points = apply_affine(template.affine, np.argwhere(brain)[::5000])
    np.testing.assert_array_equal(way_to_mni(brain, template.affine)(points), points)
    moved = np.diag([1.1, 0.9, 1.0, 1.0]) @ template.affine
    moved[:3, 3] += (0, 60, -20)
    away = apply_affine(moved @ np.linalg.inv(template.affine), points)
    np.testing.assert_allclose(way_to_mni(brain, moved)(away), points, atol=0.01)

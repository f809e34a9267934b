"""The space halfway: known motions, and neither scan moved more than the other."""

import numpy as np
import pytest
from nibabel.affines import apply_affine
from scipy.spatial.transform import Rotation
from tiny import brain

from brainuad.changes.halfway import RegisterHalfway, carried, halves, mean_of
from brainuad.preparation.register.linear import Register
from brainuad.types import Volume
from brainuad.volumes.grids import Grid


def rigid(degrees: float, shift: float) -> np.ndarray:
    matrix = np.eye(4)
    turn = degrees * np.array([0.5, -0.7, 1.0])
    matrix[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix()
    matrix[:3, 3] = shift * np.array([1.0, -0.4, 0.6])
    return matrix


@pytest.mark.parametrize(("degrees", "shift"), [(0, 0), (3, 4), (-20, 0), (40, 150)])
def test_both_halves_make_the_whole(degrees, shift):
    whole = rigid(degrees, shift)
    to_first, to_second = halves(whole)
    np.testing.assert_allclose(to_second @ to_second, whole, atol=1e-9)
    np.testing.assert_allclose(to_second @ np.linalg.inv(to_first), whole, atol=1e-9)
    # Half of a rigid transform is rigid.
    np.testing.assert_allclose(to_second[:3, :3] @ to_second[:3, :3].T, np.eye(3), atol=1e-9)


def test_the_mean_of_two_transforms_lies_between_them_in_any_order():
    one, other = rigid(4, 3), rigid(6, 5)
    found = mean_of(one, other)
    np.testing.assert_allclose(found, mean_of(other, one), atol=1e-9)
    assert np.trace(other[:3, :3]) < np.trace(found[:3, :3]) < np.trace(one[:3, :3])
    back = mean_of(np.linalg.inv(one), np.linalg.inv(other))
    np.testing.assert_allclose(np.linalg.inv(back), found, atol=1e-9)


def test_a_known_motion_is_found_and_shared_equally():
    image, inside = brain(3)
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    grid, whole = Grid(image.shape, affine), rigid(4, 4)
    first = Volume(image * inside, affine)
    # A point x of the first scan lies at `whole @ x` in the second.
    second = Volume(carried(first.array, affine, grid, np.linalg.inv(whole), order=3), affine)
    moved = carried(inside, affine, grid, np.linalg.inv(whole)) >= 0.5
    register = RegisterHalfway(Register("rigid", spacing_mm=3.0), spacing_mm=3.0)
    found = register(first, second, (inside, moved))
    points = apply_affine(affine, np.argwhere(inside))
    there = apply_affine(found.to_second @ np.linalg.inv(found.to_first), points)
    assert np.linalg.norm(there - apply_affine(whole, points), axis=1).max() < 1.0
    np.testing.assert_allclose(found.to_first @ found.to_second, np.eye(4), atol=1e-9)
    swapped = register(second, first, (moved, inside))
    np.testing.assert_allclose(swapped.to_first, found.to_second, atol=1e-6)
    assert swapped.grid.shape == found.grid.shape
    for way, mask in ((found.to_first, inside), (found.to_second, moved)):
        laid = carried(mask, affine, found.grid, way)
        # The whole brain lies on the grid.
        assert laid.sum() == pytest.approx(mask.sum(), rel=0.02)

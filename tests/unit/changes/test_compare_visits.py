"""Two visits compared: painted changes of known size, and what must not be found."""

import numpy as np
import pytest
from nibabel.affines import apply_affine
from scipy import ndimage

from brainuad.changes.compare import Compare
from brainuad.changes.halfway import Halfway
from brainuad.changes.visit import Visit
from brainuad.errors import InputError
from brainuad.types import Volume
from brainuad.volumes.grids import Grid

SHAPE = (56, 60, 52)
AFFINE = np.diag([1.0, 1.0, 1.0, 1.0])
AFFINE[:3, 3] = (-28.0, -30.0, -26.0)
PLACES = {"new": (18, 20, 26), "stable": (38, 20, 26), "grown": (18, 42, 26), "gone": (38, 42, 26)}
RADII = {"new": (0, 5), "stable": (5, 5), "grown": (4, 6), "gone": (5, 0)}


def laid(first: Volume, second: Volume, brains: tuple[np.ndarray, np.ndarray]) -> Halfway:
    """Registration of scans that lie on one another."""
    return Halfway(Grid(first.array.shape, first.affine), np.eye(4), np.eye(4))


def ball(place: tuple[int, ...], radius: float) -> np.ndarray:
    away = np.moveaxis(np.indices(SHAPE), 0, -1) - np.array(place)
    return np.linalg.norm(away, axis=-1) < radius


def visit(number: int, seed: int, scale: float = 1.0, sign: int = 1) -> Visit:
    rng = np.random.default_rng(0)
    brain = ndimage.binary_erosion(np.ones(SHAPE, bool), iterations=4)
    image = 100 + 6 * ndimage.gaussian_filter(rng.normal(size=SHAPE), 2) / 0.05
    mask = np.zeros(SHAPE, bool)
    for name, place in PLACES.items():
        mask |= ball(place, RADII[name][number])
    image += sign * 50 * ndimage.gaussian_filter(mask.astype(float), 0.7)
    image += np.random.default_rng(seed).normal(scale=4, size=SHAPE)
    score = ndimage.gaussian_filter(mask.astype(np.float32), 1.0)
    return Visit(Volume((scale * image).astype(np.float32), AFFINE), brain, score, mask, 0.5)


@pytest.fixture(scope="module")
def both():
    compare = Compare(register=laid)
    first, second = visit(0, 1), visit(1, 2, scale=1.6)
    return compare(first, second), compare(second, first)


def volume(radius: float) -> int:
    return int(ball(PLACES["new"], radius).sum())


def test_painted_changes_are_found_with_their_volumes(both):
    table = both[0].findings.set_index("state")
    assert sorted(table.index) == ["grown", "new", "stable", "vanished"]
    assert table.loc["new", "gained_mm3"] == pytest.approx(volume(5), rel=0.1)
    assert table.loc["vanished", "lost_mm3"] == pytest.approx(volume(5), rel=0.1)
    assert table.loc["grown", "gained_mm3"] == pytest.approx(volume(6) - volume(4), rel=0.15)
    assert table.loc["new", "first_mm3"] == 0
    place = apply_affine(AFFINE, PLACES["new"])
    assert np.linalg.norm(table.loc["new", ["x_mm", "y_mm", "z_mm"]].to_numpy(float) - place) < 1


def test_swapped_visits_swap_the_states(both):
    there, back = (one.findings.set_index("state") for one in both)
    names = {"new": "vanished", "vanished": "new", "grown": "shrunk", "stable": "stable"}
    for state, other in names.items():
        for one, two in (("first", "second"), ("gained", "lost"), ("second", "first")):
            assert there.loc[state, f"{one}_mm3"] == back.loc[other, f"{two}_mm3"]


def test_dark_lesions_are_found_as_well():
    found = Compare(register=laid)(visit(0, 1, sign=-1), visit(1, 2, sign=-1)).findings
    assert sorted(found["state"]) == ["grown", "new", "stable", "vanished"]


def test_masks_lie_on_the_grid_of_the_second_scan(both):
    like = Volume(np.zeros((28, 30, 26)), AFFINE @ np.diag([2.0, 2.0, 2.0, 1.0]))
    mask = both[0].in_second("new", like)
    assert mask.shape == like.array.shape
    assert 8 * mask.sum() == pytest.approx(volume(5), rel=0.2)
    (place,) = apply_affine(like.affine, [np.argwhere(mask).mean(axis=0)])
    assert np.linalg.norm(place - apply_affine(AFFINE, PLACES["new"])) < 1


def test_two_scans_of_one_state_differ_in_nothing():
    found = Compare(register=laid)(visit(1, 1), visit(1, 2, scale=0.7)).findings
    assert set(found["state"]) == {"stable"}


def test_one_scan_twice_is_refused():
    with pytest.raises(InputError, match="both visits are the same scan"):
        Compare(register=laid)(visit(0, 1), visit(0, 1))


def test_brains_that_do_not_overlap_are_refused():
    def aside(first, second, brains):
        away = np.eye(4)
        away[0, 3] = 46
        return Halfway(Grid(SHAPE, AFFINE), np.eye(4), away)

    with pytest.raises(InputError, match="do not lie on one another"):
        Compare(register=aside)(visit(0, 1), visit(1, 2))

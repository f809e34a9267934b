"""Findings of two visits with known answers, and what holds whatever the findings are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from brainuad.changes.matching import COLUMNS, matched
from brainuad.changes.tissue import Tissue, tissue_of

SHAPE = (24, 12, 12)


def box(*sides: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[tuple(slice(*side) for side in sides)] = True
    return mask


def tissue(first: np.ndarray, second: np.ndarray) -> Tissue:
    return Tissue(first, second, second & ~first, first & ~second)


LEFT, RIGHT, BRIDGE = (box(side, (2, 5), (2, 5)) for side in ((2, 6), (10, 14), (6, 10)))
NONE = np.zeros(SHAPE, bool)


@pytest.mark.parametrize(
    ("first", "second", "state", "parts", "volumes"),
    [
        (NONE, LEFT, "new", (0, 1), (0, 36)),
        (LEFT, NONE, "vanished", (1, 0), (36, 0)),
        (LEFT, LEFT, "stable", (1, 1), (36, 36)),
        (LEFT, LEFT | BRIDGE, "grown", (1, 1), (36, 72)),
        (LEFT | BRIDGE, LEFT, "shrunk", (1, 1), (72, 36)),
        (LEFT | RIGHT, LEFT | BRIDGE | RIGHT, "grown", (2, 1), (72, 108)),
        (LEFT | BRIDGE | RIGHT, LEFT | RIGHT, "shrunk", (1, 2), (108, 72)),
    ],
)
def test_one_finding(first, second, state, parts, volumes):
    found = matched(tissue(first, second), voxel_mm3=2.0)
    (row,) = found.table.itertuples()
    assert row.state == state
    assert (row.first_parts, row.second_parts) == parts
    assert (row.first_mm3, row.second_mm3) == tuple(2 * volume for volume in volumes)
    np.testing.assert_array_equal(found.labels > 0, first | second)


def test_several_findings_stand_by_state_and_size():
    new = box((18, 22), (7, 10), (7, 10))
    found = matched(tissue(LEFT | RIGHT, LEFT | new), 1.0)
    assert list(found.table["state"]) == ["new", "vanished", "stable"]
    for row, mask in zip(found.table.itertuples(), (new, RIGHT, LEFT), strict=True):
        np.testing.assert_array_equal(found.labels == row.change, mask)


def test_no_finding():
    found = matched(tissue(NONE, NONE), 1.0)
    assert found.table.empty
    assert list(found.table) == list(COLUMNS)


OTHER = {"new": "vanished", "vanished": "new", "grown": "shrunk", "shrunk": "grown"}
BOXES = st.lists(
    st.tuples(*[st.tuples(st.integers(0, n - 4), st.integers(1, 4)) for n in SHAPE]), max_size=5
)


def union(boxes) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    for sides in boxes:
        mask |= box(*((start, start + size) for start, size in sides))
    return mask


@settings(max_examples=60, deadline=None)
@given(BOXES, BOXES)
def test_swapped_visits_swap_the_states_and_keep_the_volumes(one, two):
    there = matched(tissue(union(one), union(two)), 1.0).table
    back = matched(tissue(union(two), union(one)), 1.0).table
    turned = back.rename(columns=lambda name: SWAPPED.get(name, name))
    turned["state"] = [OTHER.get(state, state) for state in turned["state"]]
    by = ["state", "first_mm3", "second_mm3", "gained_mm3", "lost_mm3", "first_parts"]
    columns = [name for name in COLUMNS if name != "change"]
    one_way, other_way = (
        table[columns].sort_values(by).reset_index(drop=True) for table in (there, turned)
    )
    assert one_way.equals(other_way[columns])
    # What changed is what the volumes differ by.
    change = there["gained_mm3"] - there["lost_mm3"]
    assert ((there["second_mm3"] - there["first_mm3"]) == change).all()


SWAPPED = {
    **{"first_mm3": "second_mm3", "second_mm3": "first_mm3"},
    **{"gained_mm3": "lost_mm3", "lost_mm3": "gained_mm3"},
    **{"first_parts": "second_parts", "second_parts": "first_parts"},
}


def test_unchanged_tissue_is_in_both_visits_and_a_normal_change_in_none():
    labels = np.zeros(SHAPE, int)
    labels[RIGHT], labels[18:21, 7:10, 7:10] = 1, 2
    first = np.where(LEFT, 1.4, 0)
    second = np.where(LEFT, 0.9, np.where(RIGHT, 2.0, 0.1))
    # The first map marks the lesion on the left, the second misses it.
    found = tissue_of(labels, (first, second), (LEFT, RIGHT), 1.0, least_mm3=8)
    np.testing.assert_array_equal(found.first, LEFT)
    np.testing.assert_array_equal(found.second, LEFT | RIGHT)
    np.testing.assert_array_equal(found.gained, RIGHT)
    assert not found.lost.any()


def test_a_mask_wider_than_a_new_lesion_makes_it_no_grown_one():
    labels = np.where(RIGHT, 1, 0)
    wide = ndimage.binary_dilation(RIGHT, iterations=2)
    second = np.where(wide, 1.5, 0)
    found = tissue_of(labels, (0 * second, second), (NONE, wide), 1.0, least_mm3=8)
    assert not found.first.any()
    np.testing.assert_array_equal(found.second, RIGHT)
    # The same tissue marked at the visit before is a lesion that grew.
    core = tissue_of(labels, (0.8 * second, second), (wide, wide), 1.0, least_mm3=8)
    np.testing.assert_array_equal(core.second, wide)

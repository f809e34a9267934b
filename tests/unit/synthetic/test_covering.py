import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from brainuad.synthetic.masks.covering import covering_patterns


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(5, 40), min_size=2, max_size=3).map(tuple),
    times=st.integers(1, 7),
    sizes=st.lists(st.floats(2.0, 15.0), min_size=1, max_size=3).map(tuple),
    seed=st.integers(0, 99),
)
def test_every_pixel_is_hidden_so_many_times(shape, times, sizes, seed):
    patterns = covering_patterns(shape, times, sizes, seed)
    assert patterns.shape == (times * 2 ** len(shape), *shape)
    assert patterns.sum(0).min() >= times


def test_holes_of_a_pattern_are_apart_and_of_the_wished_size():
    patterns = covering_patterns((96, 112), 3, (12.0,))
    areas = []
    for pattern in patterns:
        labels, count = ndimage.label(pattern, structure=torch.ones(3, 3).numpy())
        sizes = ndimage.sum_labels(pattern.numpy(), labels, range(1, count + 1))
        areas.append(sizes.max())
        assert count > 8
    # Balls and ellipsoids around the cells of 12 x 12, boxes as they are.
    assert max(areas[:4]) == pytest.approx(torch.pi * 72, rel=0.06)
    assert set(areas[4:8]) == {144}
    assert max(areas[8:]) == pytest.approx(torch.pi * 72, rel=0.06)


def test_patterns_do_not_hide_everything_at_once():
    for pattern in covering_patterns((96, 112), 6, (8.0, 16.0)):
        assert 0.15 < pattern.float().mean() < 0.5


def test_families_are_at_other_places():
    first = covering_patterns((60, 60), 2, (10.0,), 0)
    assert not torch.equal(first, covering_patterns((60, 60), 2, (10.0,), 1))

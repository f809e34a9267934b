from collections import Counter
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainuad.errors import InputError
from brainuad.training.batches import EpochBatches, EpochLoader, drawn_slices


def deal(count, batch_size, ranks, shuffle=True, epoch=0):
    dealt = []
    for rank in range(ranks):
        batches = EpochBatches(count, batch_size, ranks, rank, shuffle, seed=3)
        batches.set_epoch(epoch)
        dealt.append(list(batches))
    return dealt


@given(st.integers(1, 60), st.integers(1, 7), st.integers(1, 5), st.integers(0, 3))
def test_every_sample_once_and_steps_the_same_on_all_ranks(count, batch_size, ranks, epoch):
    if count < ranks:
        with pytest.raises(InputError, match="use fewer"):
            EpochBatches(count, batch_size, ranks)
        return
    dealt = deal(count, batch_size, ranks, epoch=epoch)
    keys = [key for rank in dealt for batch in rank for key in batch]
    assert sorted(keys) == [(epoch, index) for index in range(count)]
    assert len({len(rank) for rank in dealt}) == 1
    assert len(dealt[0]) == len(EpochBatches(count, batch_size, ranks))
    for step in zip(*dealt, strict=True):
        sizes = [len(batch) for batch in step]
        assert min(sizes) >= 1
        assert max(sizes) <= max(batch_size, 2)
        assert max(sizes) - min(sizes) <= 1


@given(st.integers(8, 60), st.integers(1, 4))
def test_the_same_batch_in_all_makes_the_same_steps(count, ranks):
    one = deal(count, 4 * ranks, 1)[0]
    many = deal(count, 4, ranks)
    # But the last two, where the rest may be less than a sample a rank.
    for whole, *shares in list(zip(one, *many, strict=True))[:-2]:
        assert sorted(whole) == sorted(key for share in shares for key in share)


def test_the_order_is_of_the_seed_and_the_epoch():
    assert deal(20, 4, 1) == deal(20, 4, 1)
    indices = [
        [index for batch in deal(20, 4, 1, epoch=e)[0] for _, index in batch] for e in (0, 1)
    ]
    assert indices[0] != indices[1]
    assert deal(5, 2, 1, shuffle=False)[0] == [[(0, 0), (0, 1)], [(0, 2), (0, 3)], [(0, 4)]]


class Keys:
    """A data set that is its keys."""

    def __getitem__(self, key):
        return key[0] * 100 + key[1]


def loader(workers=0):
    return EpochLoader(Keys(), EpochBatches(10, 3, shuffle=True, seed=1), workers)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_new_loader_goes_on_in_the_middle_of_the_epoch(workers):
    whole, interrupted, resumed = loader(workers), loader(), loader(workers)
    for each in (whole, interrupted):
        each.batches.set_epoch(2)
    expected = [batch.tolist() for batch in whole]
    handing_out = iter(interrupted)
    done = [next(handing_out).tolist() for _ in range(2)]
    resumed.load_state_dict(interrupted.state_dict())
    going_on = iter(resumed)
    # Lightning tells the epoch after it asked for the iterator.
    resumed.batches.set_epoch(2)
    assert done + [batch.tolist() for batch in going_on] == expected
    resumed.batches.set_epoch(3)
    assert len(list(resumed)) == len(resumed) == 4


def test_a_state_of_the_end_of_an_epoch_leaves_nothing_out_of_the_next():
    first, second = loader(), loader()
    list(first)
    second.load_state_dict(first.state_dict())
    second.batches.set_epoch(1)
    assert len(list(second)) == 4


SIZES = [10, 0, 3, 40]
"""Slices of each scan; they are numbered 0 to 9, 10 to 12, 13 to 52."""


def scan_of(index):
    return 0 if index < 10 else 2 if index < 13 else 3


@pytest.mark.parametrize(
    ("count", "replace", "drawn"),
    [(1, False, [1, 0, 1, 1]), (5, False, [5, 0, 3, 5]), (20, True, [20, 0, 20, 20])],
)
def test_so_many_slices_are_drawn_of_each_scan(count, replace, drawn):
    found = drawn_slices(SIZES, count, replace, seed=1, epoch=0)
    counts = Counter(map(scan_of, found))
    assert [counts[scan] for scan in range(4)] == drawn
    assert max(Counter(found).values()) == 1 or replace
    if replace:
        # Twenty draws of three slices.
        assert max(Counter(index for index in found if 10 <= index < 13).values()) > 1


def test_every_slice_is_drawn_alike():
    found = Counter(drawn_slices([4], 1, False, 0, epoch)[0] for epoch in range(2000))
    # 500 each with a standard deviation of 19.
    assert all(abs(found[index] - 500) < 100 for index in range(4))


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_share_what_is_drawn_and_a_restart_draws_the_same(ranks):
    drawn = partial(drawn_slices, SIZES, 5, True, 7)
    for epoch in (0, 1):
        dealt = []
        for rank in range(ranks):
            batches = EpochBatches(15, 2, ranks, rank, shuffle=True, seed=7, drawn=drawn)
            batches.set_epoch(epoch)
            dealt.append(list(batches))
            batches.start = 1
            assert list(batches) == dealt[-1][1:]
        keys = sorted(key for own in dealt for batch in own for key in batch)
        assert keys == sorted((epoch, index) for index in drawn(epoch))
    assert drawn(0) != drawn(1)

"""Steps of two scans that are each other's donor."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from brainuad.errors import InputError
from brainuad.training.batches import EpochLoader
from brainuad.training.pairs import PairBatches


def deal(heights, batch_size=3, ranks=1, rank=0, shuffle=True, epoch=0):
    """Steps as (scan, height) of tiles and of donors, of scans with these heights."""
    named = [(scan, height) for scan, own in enumerate(heights) for height in own]
    places = np.array([[height, 5, 7] for _, height in named])
    batches = PairBatches(
        *([len(own) for own in heights], places, batch_size, ranks, rank), shuffle, seed=3
    )
    batches.set_epoch(epoch)
    steps = list(batches)
    assert len(steps) == len(batches)
    assert {key[0] for step in steps for key in step} == {epoch}
    tiles = [[named[index] for _, index in step] for step in steps]
    return [(step[: len(step) // 2], step[len(step) // 2 :]) for step in tiles]


@given(
    st.lists(st.integers(1, 12), min_size=2, max_size=5),
    st.integers(1, 4),
    st.integers(1, 3),
    st.booleans(),
)
def test_every_tile_of_the_pairs_is_trained_on_with_a_donor_of_the_other_scan(
    counts, batch_size, ranks, shuffle
):
    assume(sum(counts) >= ranks)
    heights = [range(10, 10 + count) for count in counts]
    dealt = [deal(heights, batch_size, ranks, rank, shuffle) for rank in range(ranks)]
    partner = {}
    trained = set()
    for step in zip(*dealt, strict=True):
        for tiles, donors in step:
            assert 1 <= len(tiles) == len(donors)
            assert len(tiles) <= max(batch_size, 2)
            (scan,), (other,) = ({scan for scan, _ in part} for part in (tiles, donors))
            assert partner.setdefault(scan, other) == other != scan
            for (_, height), (_, given_height) in zip(tiles, donors, strict=True):
                # The same height, or the nearest one that the other scan has.
                assert given_height == min(height, heights[other][-1])
            trained |= set(tiles)
    # Of an odd number of scans one waits.
    assert len(partner) == 2 * (len(counts) // 2)
    assert all(partner[other] == scan for scan, other in partner.items())
    assert trained == {(scan, height) for scan in partner for height in heights[scan]}


def test_two_steps_in_a_row_are_of_the_same_heights_of_both_scans():
    """As in FPI's code: eight times 32 of 256 slices, of the first scan and then of the other."""
    steps = deal([range(256)] * 4, batch_size=32)
    assert len(steps) == 2 * 2 * 8
    for (tiles, donors), (next_tiles, next_donors) in list(pairwise(steps))[::2]:
        assert len(tiles) == 32
        assert (next_tiles, next_donors) == (donors, tiles)
    first = [height for tiles, _ in steps[:16:2] for _, height in tiles]
    assert sorted(first) == list(range(256))
    assert first != sorted(first)


def test_pairs_and_order_are_of_the_epoch_and_unshuffled_ones_are_in_order():
    heights = [range(6)] * 6
    assert deal(heights) == deal(heights)
    orders = [[tiles for tiles, _ in deal(heights, epoch=epoch)] for epoch in range(4)]
    assert len({str(order) for order in orders}) == 4
    partners = {
        frozenset(frozenset((t[0][0], d[0][0])) for t, d in deal(heights, epoch=epoch))
        for epoch in range(6)
    }
    assert len(partners) > 1
    still = deal([range(2)] * 2, batch_size=1, shuffle=False)
    assert [tiles for tiles, _ in still] == [[(0, 0)], [(1, 0)], [(0, 1)], [(1, 1)]]


def test_one_scan_is_no_pair():
    with pytest.raises(InputError, match="two scans"):
        PairBatches([3, 0], np.zeros((3, 1), int), 2)


class Keys:
    """A data set that is its keys."""

    def __getitem__(self, key):
        return key[1]


def test_a_loader_goes_on_in_the_middle_of_an_epoch():
    def loader():
        batches = PairBatches([8, 8], np.arange(16)[:, None] % 8, 2, shuffle=True)
        return EpochLoader(Keys(), batches)

    expected = [batch.tolist() for batch in loader()]
    resumed = loader()
    resumed.load_state_dict({"epoch": 0, "batches": 3})
    assert [batch.tolist() for batch in resumed] == expected[3:]

"""Patches: each pixel in exactly one, by hand."""

import pytest
import torch

from brainuad.diffusion.patches import draw_patches, grid_masks


@pytest.mark.parametrize(
    ("size", "patches", "number"),
    [((96, 96), (2, 2), 4), ((96, 112), (2, 2), 4), ((7, 10), (3, 4), 12), ((5, 6), (1, 6), 6)],
)
def test_every_pixel_lies_in_exactly_one_patch(size, patches, number):
    masks = grid_masks(size, patches)
    assert masks.shape == (number, 1, *size)
    assert torch.equal((1 - masks).sum(0), torch.ones(1, *size))


def test_the_published_grid():
    masks = grid_masks((96, 96), (2, 2))
    for index, (top, left) in enumerate([(0, 0), (0, 48), (48, 0), (48, 48)]):
        expected = torch.ones(96, 96)
        expected[top : top + 48, left : left + 48] = 0
        assert torch.equal(masks[index, 0], expected)


def test_a_grid_that_does_not_fit():
    # Sides of 3: the last patch has one row; a fourth one would be empty.
    masks = grid_masks((7, 2), (3, 1))
    assert [(1 - mask).sum().item() for mask in masks] == [6, 6, 2]
    assert len(grid_masks((4, 2), (3, 1))) == 2


def test_drawn_patches_are_all_of_the_grids():
    grid = grid_masks((8, 12), (2, 3))
    generator = torch.Generator().manual_seed(0)
    drawn = draw_patches(600, (8, 12), (2, 3), generator=generator)
    times = [(drawn == mask).flatten(1).all(1).sum().item() for mask in grid]
    assert sum(times) == 600
    assert min(times) > 60


def test_patches_anywhere_have_their_sides_and_are_cut_by_the_border():
    generator = torch.Generator().manual_seed(0)
    drawn = 1 - draw_patches(2000, (8, 12), (2, 3), on_grid=False, generator=generator)[:, 0]
    rows, columns = drawn.amax(2), drawn.amax(1)
    assert torch.equal(drawn, rows[:, :, None] * columns[:, None])
    assert set(rows.sum(1).tolist()) == {1, 2, 3, 4}
    assert set(columns.sum(1).tolist()) == {1, 2, 3, 4}
    # The first row is on any pixel with the same chance.
    first = rows.argmax(1).bincount(minlength=8) / 2000
    assert first.tolist() == pytest.approx([1 / 8] * 8, abs=0.03)

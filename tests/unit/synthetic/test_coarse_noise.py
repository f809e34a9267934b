"""Coarse noise: its statistics by hand, and what the released code draws, step by step."""

import pytest
import torch
from torch.nn import functional

from brainuad.synthetic.noise.coarse import coarse_noise


def draw(shape, seed=0, **options):
    image = torch.zeros(*shape)
    mask = torch.ones(shape[0], 1, *shape[2:], dtype=torch.bool)
    return coarse_noise(image, mask, generator=torch.Generator().manual_seed(seed), **options)


def test_as_the_released_code_draws_it():
    generator = torch.Generator().manual_seed(3)
    nodes = torch.randn(2, 1, 16, 16, generator=generator) * 0.2
    fine = functional.interpolate(nodes, size=(128, 128), mode="bilinear", align_corners=True)
    x, y = (int(torch.randint(128, (1,), generator=generator)) for _ in range(2))
    expected = torch.roll(fine, shifts=[x, y], dims=[-2, -1])
    torch.testing.assert_close(draw((2, 1, 128, 128), seed=3), expected)


def test_variance_is_sigma_at_the_nodes_and_that_of_a_mean_of_four_between_them():
    # With 7 pixels on 4 cells every other pixel is a node: 1, 1/2 and 1/4 of the variance.
    noise = draw((20000, 1, 7, 7), cells=4, sigma=0.2)
    found = noise.var(0)[0] / 0.2**2
    for share, number in ((1.0, 16), (0.5, 24), (0.25, 9)):
        assert (found - share).abs().lt(0.06 * share).sum() == number
    assert noise.mean().item() == pytest.approx(0, abs=0.002)


def test_neighbours_belong_together_and_what_is_a_cell_apart_does_not():
    noise = draw((4000, 1, 33, 33), cells=5, sigma=1.0)
    row = noise[:, 0, 16] / noise[:, 0, 16].std(0)
    together = (row[:, :-1] * row[:, 1:]).mean(0)
    apart = (row[:, :8] * row[:, 16:24]).mean(0)
    # All but the pair that lies on both sides of the seam of the roll.
    assert together.sort().values[1:].min() > 0.8
    assert apart.abs().max() < 0.1


def test_it_moves_with_the_seed_and_only_with_the_seed():
    first = draw((2, 1, 24, 32))
    assert torch.equal(first, draw((2, 1, 24, 32)))
    assert not torch.equal(first, draw((2, 1, 24, 32), seed=1))
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("size", [(24, 32), (12, 16, 20)])
def test_only_the_brain_of_slices_and_volumes_has_noise(size):
    mask = torch.zeros(2, 1, *size, dtype=torch.bool)
    mask[:, :, 3:9, 4:12] = True
    noise = coarse_noise(torch.zeros(2, 3, *size), mask, cells=6)
    assert noise.shape == (2, 3, *size)
    assert not noise[~mask.expand_as(noise)].any()
    assert noise[mask.expand_as(noise)].ne(0).float().mean() > 0.99


def test_cells_along_each_axis():
    fine, coarse = (draw((500, 1, 32, 32), cells=cells) for cells in ([32, 2], [2, 32]))
    for noise, rough in ((fine, 2), (coarse, 3)):
        steps = [noise.diff(dim=axis).abs().median() for axis in (2, 3)]
        assert steps[rough - 2] > 5 * steps[3 - rough]
    with pytest.raises(ValueError, match="2 axes"):
        draw((1, 1, 8, 8), cells=[4, 4, 4])

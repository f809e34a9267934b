"""Simplex noise: known values, a scalar reference, and what noise has to be."""

import itertools
import math

import numpy as np
import pytest
import torch

from brainuad.synthetic.noise.diffusion import GaussianNoise, SimplexNoise, SimplexNoise2D
from brainuad.synthetic.noise.simplex import (
    draw_permutations,
    simplex_noise,
    simplex_noise_2d,
)

SIGNS = [(x, y, z) for z in (1, -1) for y in (1, -1) for x in (-1, 1)]
GRADIENTS = [
    (x * a, y * b, z * c) for x, y, z in SIGNS for a, b, c in [(11, 4, 4), (4, 11, 4), (4, 4, 11)]
]


def wrapped(number):
    """As a 64-bit integer would have it."""
    return (number + 2**63) % 2**64 - 2**63


def spencers_permutation(seed):
    """The shuffle of OpenSimplex's own seeds."""
    step = lambda s: wrapped(s * 6364136223846793005 + 1442695040888963407)  # noqa: E731
    for _ in range(3):
        seed = step(seed)
    source, permutation = list(range(256)), [0] * 256
    for i in range(255, -1, -1):
        seed = step(seed)
        # The remainder of C, then made positive, is Python's.
        r = wrapped(seed + 31) % (i + 1)
        permutation[i] = source[r]
        source[r] = source[i]
    return permutation


def scalar_noise(permutation, x, y, z):
    """The equation, point by point over far more of the lattice than is within reach."""
    stretch = (x + y + z) / 6
    base = [math.floor(axis - stretch) for axis in (x, y, z)]
    total = 0.0
    for offset in itertools.product(range(-3, 5), repeat=3):
        k = [low + step for low, step in zip(base, offset, strict=True)]
        d = [axis - n - sum(k) / 3 for axis, n in zip((x, y, z), k, strict=True)]
        reach = 2 - sum(v * v for v in d)
        if reach > 0:
            h = permutation[(permutation[(permutation[k[0] & 255] + k[1]) & 255] + k[2]) & 255]
            g = GRADIENTS[h % 24]
            total += reach**4 * sum(a * b for a, b in zip(g, d, strict=True))
    return total / 103


@pytest.fixture(scope="module")
def permutation():
    return spencers_permutation(3)


def test_values_of_the_package_opensimplex(permutation):
    # opensimplex 0.4.5.1, seed 3, six octaves of 64 pixels and 0.8 summed as AnoDDPM does; what it
    # leaves out of the sum is up to 1e-4 an octave.
    places = {(0, 0, 0): 0.0, (5, 17, 0): -0.00337229, (23, 39, 250): -0.46862074}
    places |= {(11, 30, 499): -0.17754302}
    for (y, x, t), expected in places.items():
        found = simplex_noise(torch.tensor([permutation]), (32, 48), torch.tensor([t]))
        assert found[0, 0, y, x].item() == pytest.approx(expected, abs=3e-4)


def test_the_equation_by_a_scalar_reference(permutation):
    other = draw_permutations(1, generator=torch.Generator().manual_seed(0))[0].tolist()
    height = torch.tensor([3.0, 250.0])
    found = simplex_noise(torch.tensor([permutation, other]), (5, 7), height, 5.0, 2, 0.6)
    for row, table in enumerate((permutation, other)):
        for y, x in itertools.product(range(5), range(7)):
            at = (x, y, height[row].item())
            expected = sum(
                0.6**octave * scalar_noise(table, *(axis * 2**octave / 5 for axis in at))
                for octave in (0, 1)
            )
            assert found[row, 0, y, x].item() == pytest.approx(expected, abs=2e-5)


@pytest.fixture(scope="module")
def noise():
    """Many slices of one octave of 8 pixels."""
    permutations = draw_permutations(400, generator=torch.Generator().manual_seed(1))
    return simplex_noise(permutations, (24, 24), torch.linspace(0, 999, 400), 8.0, 1)[:, 0]


def test_mean_and_deviation(noise):
    assert noise.mean().item() == pytest.approx(0, abs=0.01)
    assert noise.std().item() == pytest.approx(0.31, abs=0.01)
    assert noise.abs().max() <= 1


def test_it_is_continuous(noise):
    fine = simplex_noise(draw_permutations(4), (64, 64), torch.zeros(4), 512.0, 1)
    steps = max(fine.diff(dim=axis).abs().max().item() for axis in (2, 3))
    # A period of 512 pixels: a step is 1/64 of one at a period of 8.
    coarse = max(noise.diff(dim=axis).abs().max().item() for axis in (1, 2))
    assert steps < 2 * coarse / 64


def correlation_length(slices):
    """Pixels until the correlation along a row is below one half."""
    rows = (slices - slices.mean()).flatten(0, 1)
    variance = rows.square().mean()
    for lag in range(1, rows.shape[1]):
        if (rows[:, lag:] * rows[:, :-lag]).mean() < variance / 2:
            return lag
    return rows.shape[1]


def test_a_shorter_period_has_a_shorter_correlation():
    permutations = draw_permutations(40, generator=torch.Generator().manual_seed(1))
    lengths = [
        correlation_length(simplex_noise(permutations, (48, 48), torch.zeros(40), period, 1)[:, 0])
        for period in (32.0, 16.0, 8.0)
    ]
    assert lengths[0] > lengths[1] > lengths[2] > 1
    several = [
        correlation_length(simplex_noise(permutations, (48, 48), torch.zeros(40), 32.0, n)[:, 0])
        for n in (1, 5)
    ]
    assert several[1] < several[0]


def test_heights_of_one_permutation_are_cuts_through_one_noise(permutation):
    tables = torch.tensor([permutation] * 3)
    near = simplex_noise(tables, (16, 16), torch.tensor([100.0, 101.0, 400.0]), 64.0, 1)
    assert (near[0] - near[1]).abs().max() < 0.1
    assert (near[0] - near[2]).abs().max() > 0.1


def test_permutations_are_permutations():
    found = draw_permutations(3, generator=torch.Generator().manual_seed(0))
    assert np.array_equal(found.sort(1).values, np.tile(np.arange(256), (3, 1)))
    assert not torch.equal(found[0], found[1])


@pytest.mark.parametrize("noise", [SimplexNoise(period=8.0, octaves=2), GaussianNoise()])
def test_noise_of_a_batch(noise):
    t = torch.arange(5)
    found = noise((5, 2, 12, 16), t, torch.Generator().manual_seed(0))
    assert found.shape == (5, 2, 12, 16)
    assert torch.equal(found, noise((5, 2, 12, 16), t, torch.Generator().manual_seed(0)))
    flat = found.flatten(0, 1)
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(flat, 2))
    torch.manual_seed(0)
    first = noise((3, 1, 12, 16), t[:3])
    torch.manual_seed(0)
    assert torch.equal(first, noise((3, 1, 12, 16), t[:3]))


def test_half_of_a_batch_is_the_others_negative():
    found = SimplexNoise(8.0, 1)((5, 1, 8, 8), torch.zeros(5), torch.Generator().manual_seed(0))
    assert torch.equal(found[3:], -found[:2])


def test_values_of_the_package_opensimplex_in_two_dimensions(permutation):
    # opensimplex 0.4.5.1, seed 3, six octaves of 64 pixels and 0.8, as pDDPM sums them.
    places = {(0, 0): 0.0, (5, 17): -0.1568496410, (23, 39): -0.2501002777}
    places |= {(40, 60): -1.3260663417, (11, 30): -0.4452874017}
    found = simplex_noise_2d(torch.tensor([permutation]), (48, 64))
    for (y, x), expected in places.items():
        assert found[0, 0, y, x].item() == pytest.approx(expected, abs=1e-5)


def test_a_later_first_pixel_shows_another_part_of_the_plane(permutation):
    tables = torch.tensor([permutation] * 2)
    found = simplex_noise_2d(tables, (16, 16), torch.tensor([[0.0, 0.0], [3.0, 5.0]]), 8.0, 2)
    torch.testing.assert_close(found[1, 0, :13, :11], found[0, 0, 3:, 5:], atol=1e-5, rtol=0)


@pytest.mark.slow
def test_noise_in_two_dimensions_is_as_large_as_released():
    # 0.579 of the released code's own noise, 96 x 96.
    noise, t = SimplexNoise2D(), torch.zeros(1)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.cat([noise((1, 1, 96, 96), t, generator) for _ in range(100)])
    assert drawn.square().mean().sqrt().item() == pytest.approx(0.579, abs=0.02)
    assert torch.equal(drawn, drawn.half().float())


def test_the_released_pattern_is_one_for_the_batch_and_zero_in_the_corner():
    t, generator = torch.zeros(4), torch.Generator().manual_seed(0)
    first, second = (SimplexNoise2D()((4, 2, 12, 16), t, generator) for _ in range(2))
    assert first.shape == (4, 2, 12, 16)
    assert torch.equal(first, first[:1].expand(4, -1, -1, -1))
    assert not torch.equal(first[:, 0], first[:, 1])
    assert not torch.equal(first, second)
    for drawn in (first, second):
        assert (drawn[:, :, 0, 0] == 0).all()
        assert (drawn[:, :, 1:, 1:] != 0).all()


def test_without_the_released_oversights_no_pixel_is_always_zero():
    found = SimplexNoise2D(shared=False)(
        (200, 1, 4, 4), torch.zeros(200), torch.Generator().manual_seed(0)
    )
    assert len({tuple(pattern.flatten().tolist()) for pattern in found}) == 200
    size = found.square().mean(0).sqrt()
    assert size.min() > 0.45
    assert size.max() < 0.75

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from brainuad.methods.parts.moments import Moments
from brainuad.synthetic.noise.diffusion import CoarseNoise, GaussianNoise
from brainuad.synthetic.noise.scanner import ScannerNoise


def _draw(noise, shape, seed=0):
    steps = torch.zeros(shape[0], dtype=torch.long)
    return noise(shape, steps, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("sides", [(1,), (3,), (1, 2, 4, 8)])
def test_coarse_noise_is_standard_normal_everywhere(sides):
    # Over draws, because a square's pixels are one and the same value.
    drawn = torch.stack([_draw(CoarseNoise(sides), (64, 2, 9, 7), seed) for seed in range(40)])
    pixels = drawn.flatten(0, 1)
    assert pixels.mean().item() == pytest.approx(0, abs=0.03)
    assert (pixels.std(0) - 1).abs().max() < 0.07
    quantiles = pixels.flatten()[::5].quantile(torch.tensor([0.1587, 0.8413]))
    torch.testing.assert_close(quantiles, torch.tensor([-1.0, 1.0]), atol=0.05, rtol=0)


def test_a_square_is_of_one_value_and_independent_of_the_next():
    drawn = _draw(CoarseNoise((4,)), (500, 1, 16, 16))
    flat = drawn[:, 0]
    rows = (flat.diff(dim=1) != 0).any(2).any(0).nonzero().flatten()
    columns = (flat.diff(dim=2) != 0).any(1).any(0).nonzero().flatten()
    for where in (rows, columns):
        assert set(where.diff().tolist()) == {4}
    first, second = flat[:, rows[0], 0], flat[:, rows[0] + 1, 0]
    assert torch.corrcoef(torch.stack([first, second]))[0, 1].abs() < 0.15


def test_each_sample_draws_its_side_and_the_grid_lies_anew():
    drawn = [_draw(CoarseNoise((1, 8)), (200, 1, 16, 16), seed)[:, 0] for seed in range(8)]
    fine = [(d.diff(dim=2) != 0).flatten(1).float().mean(1) > 0.5 for d in drawn]
    assert torch.stack(fine).float().mean().item() == pytest.approx(0.5, abs=0.08)
    starts = {
        (d[~f].diff(dim=1) != 0).any(2).any(0).nonzero()[0].item()
        for d, f in zip(drawn, fine, strict=True)
    }
    assert len(starts) > 2


def test_a_side_of_one_pixel_is_independent_noise():
    drawn = _draw(CoarseNoise((1,)), (100, 1, 8, 8))
    neighbours = torch.stack([drawn[..., 1:].flatten(), drawn[..., :-1].flatten()])
    assert torch.corrcoef(neighbours)[0, 1].abs() < 0.05
    assert drawn.unique().numel() == drawn.numel()


@pytest.mark.parametrize("noise", [GaussianNoise(), CoarseNoise()])
def test_the_same_generator_gives_the_same_noise(noise):
    first, again = _draw(noise, (3, 2, 5, 6)), _draw(noise, (3, 2, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, _draw(noise, (3, 2, 5, 6), 1))


@pytest.mark.parametrize("sides", [(), (0,), (2, -1)])
def test_a_side_that_is_none_is_refused(sides):
    with pytest.raises(ValueError, match="use one or more of 1 and above"):
        CoarseNoise(sides)


def test_moments_are_the_mean_and_covariance_of_the_chosen_vectors():
    values = torch.randn(6, 3, 5, 4, generator=torch.Generator().manual_seed(0)) + 2
    # The third is the sum of the others: a direction without variance.
    values[:, 2] = values[:, 0] + values[:, 1]
    where = torch.rand(6, 5, 4, generator=torch.Generator().manual_seed(1)) > 0.4
    moments = Moments(3)
    for part, chosen in zip(values.split(4), where.split(4), strict=True):
        moments.add(part, chosen)
    vectors = values.permute(0, 2, 3, 1)[where]
    torch.testing.assert_close(moments.mean(), vectors.mean(0))
    factor = moments.factor()
    expected = torch.cov(vectors.T, correction=0)
    torch.testing.assert_close(factor @ factor.T, expected, atol=1e-5, rtol=1e-4)
    unused = torch.tensor([1.0, 1.0, -1.0])
    assert (factor @ unused).abs().max() < 1e-3


def test_noise_of_a_scanner_has_its_size_and_grain_and_stays_in_the_brain():
    brain = torch.ones(1, 1, 64, 64, dtype=torch.bool)
    brain[..., :8] = False
    image = 0.5 * brain
    for grain, alike in ((0.0, 0.0), (1.0, math.exp(-0.25))):
        noise = ScannerNoise(blur=(0, 0), noise=(0.05, 0.05), grain=(grain, grain))
        found = noise(image, brain, torch.Generator().manual_seed(0))
        assert found[..., :8].eq(0).all()
        rest = (found - image)[0, 0, :, 8:]
        assert rest.std().item() == pytest.approx(0.05, rel=0.1)
        # Neighbours of Gaussian noise that was smoothed by s: exp(-1 / 4 s^2).
        neighbours = torch.corrcoef(torch.stack([rest[1:].flatten(), rest[:-1].flatten()]))
        assert neighbours[0, 1].item() == pytest.approx(alike, abs=0.05)


def test_blur_of_a_scanner_is_a_gaussian():
    image = torch.zeros(1, 1, 33, 33)
    image[..., 16, 16] = 1
    whole = torch.ones(1, 1, 33, 33, dtype=torch.bool)
    found = ScannerNoise(blur=(2, 2), noise=(0, 0))(image, whole)
    expected = ndimage.gaussian_filter(image[0, 0].double().numpy(), 2)
    np.testing.assert_allclose(found[0, 0].numpy(), expected, atol=1e-6)

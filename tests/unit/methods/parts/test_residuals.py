from functools import partial

import pytest
import torch
from torch.nn import functional

from brainuad.methods.asymmetry import Asymmetry
from brainuad.methods.parts.random_draws import score_draws
from brainuad.methods.parts.residuals import bind, mahalanobis, perceptual, signed, squared, ssim
from brainuad.methods.strega import StRegA
from brainuad.networks.context_vae import ContextVAE
from brainuad.networks.unified_autoencoder import UnifiedAutoencoder


def test_signs_by_hand():
    image, healthy = torch.tensor([[[[0.9, 0.2]]]]), torch.tensor([[[[0.5, 0.5]]]])
    brain_mask = torch.ones(1, 1, 1, 2, dtype=torch.bool)
    for sign, expected in (
        ("abs", [0.4, 0.3]),
        ("positive", [0.4, 0.0]),
        ("negative", [0.0, 0.3]),
    ):
        found = signed(image, healthy, brain_mask, sign)
        torch.testing.assert_close(found.flatten(), torch.tensor(expected))
    with pytest.raises(ValueError, match="sign is 'both'"):
        signed(image, healthy, brain_mask, "both")


@pytest.mark.parametrize("average", [1, 3])
def test_each_channel_may_have_a_sign_of_its_own(average):
    image, healthy = torch.rand(2, 2, 2, 8, 8).unbind()
    brain_mask = torch.ones(2, 1, 8, 8, dtype=torch.bool)
    found = signed(image, healthy, brain_mask, ["negative", "positive"], average)
    parts = [
        signed(image[:, i, None], healthy[:, i, None], brain_mask, sign, average)
        for i, sign in enumerate(("negative", "positive"))
    ]
    torch.testing.assert_close(found, (parts[0] + parts[1]) / 2)
    with pytest.raises(ValueError, match=r"sign is \['abs'\]; give one, or one for each"):
        signed(image, healthy, brain_mask, ["abs"])


@pytest.mark.parametrize("dims", [2, 3])
def test_averaging_cancels_what_alternates_and_keeps_what_does_not(dims):
    size = (9,) * dims
    index = torch.stack(torch.meshgrid(*[torch.arange(9)] * dims, indexing="ij"))
    alternating = 0.3 * (1 - 2 * (index.sum(0) % 2)).float()[None, None]
    brain_mask = torch.ones(1, 1, *size, dtype=torch.bool)
    healthy = torch.zeros(1, 1, *size)
    noise = signed(alternating, healthy, brain_mask, average=3)
    assert noise.max() <= 0.3 / 2 ** (dims - 1) + 1e-6
    assert noise[(0, 0, *[slice(1, -1)] * dims)].max().item() == pytest.approx(0.3 / 3**dims)
    steady = signed(healthy + 0.3, healthy, brain_mask, average=3)
    torch.testing.assert_close(steady, torch.full_like(steady, 0.3))


def test_averages_are_of_the_brain_alone():
    difference = torch.tensor([[[[0.6, 0.0, 9.0]]]])
    brain_mask = torch.tensor([[[[True, True, False]]]])
    found = signed(difference, torch.zeros_like(difference), brain_mask, average=3)
    torch.testing.assert_close(found.flatten(), torch.tensor([0.3, 0.3, 0.0]))


@pytest.mark.parametrize("average", [0, 2])
def test_averages_over_an_even_side_are_refused(average):
    ones = torch.ones(1, 1, 2, 2)
    with pytest.raises(ValueError, match="odd number"):
        signed(ones, ones, ones.bool(), average=average)


def test_squares_by_hand():
    image, healthy = torch.tensor([[[[0.9, 0.2]]]]), torch.tensor([[[[0.5, 0.5]]]])
    brain_mask = torch.ones(1, 1, 1, 2, dtype=torch.bool)
    found = squared(image, healthy, brain_mask)
    torch.testing.assert_close(found.flatten(), torch.tensor([0.16, 0.09]))
    found = squared(image, healthy, brain_mask, sign="negative")
    torch.testing.assert_close(found.flatten(), torch.tensor([0.0, 0.09]))
    # Of two channels the mean of the squares, not the square of the mean.
    both = torch.tensor([0.5, -0.1]).reshape(1, 2, 1, 1)
    found = squared(both, torch.zeros_like(both), brain_mask[..., :1])
    assert found.item() == pytest.approx((0.25 + 0.01) / 2)


@pytest.mark.parametrize("dims", [2, 3])
def test_ssim_by_hand(dims):
    size = (13,) * dims
    brain_mask = torch.ones(2, 1, *size, dtype=torch.bool)
    image = torch.full((2, 1, *size), 0.5)
    image[1] = 0.25
    # Of constant images the contrast's part is 1, and the brightness's (2ab + c) / (a^2 + b^2 + c).
    found = ssim(image, torch.full_like(image, 0.5), brain_mask)
    expected = 1 - (2 * 0.5 * 0.25 + 1e-4) / (0.25 + 0.0625 + 1e-4)
    assert found.shape == brain_mask.shape
    # Variances of constants cancel to about 1e-6, beside a constant of 9e-4.
    torch.testing.assert_close(found[0], torch.zeros(1, *size), atol=2e-3, rtol=0)
    torch.testing.assert_close(found[1], torch.full((1, *size), expected), atol=2e-3, rtol=0)


def test_ssim_sees_structure_and_only_the_brain():
    index = torch.arange(24)
    stripes = (0.5 + 0.2 * (1 - 2 * (index % 2))).expand(24, 24)[None, None]
    brain_mask = torch.ones(1, 1, 24, 24, dtype=torch.bool)
    # Stripes and counter-stripes: covariance -s^2 of variances s^2 = 0.04, equal means.
    found = ssim(stripes, 1 - stripes, brain_mask)
    expected = 1 - (-2 * 0.04 + 9e-4) / (2 * 0.04 + 9e-4)
    assert found[0, 0, 12, 12].item() == pytest.approx(expected, abs=0.01)
    half = brain_mask.clone()
    half[..., :12] = False
    noise = torch.where(half, stripes, torch.rand(24, 24, generator=torch.Generator()))
    assert not ssim(stripes * half, noise, half).any()
    with torch.autocast("cpu", torch.bfloat16):
        again = ssim(stripes.bfloat16(), (1 - stripes).bfloat16(), brain_mask)
    assert again.dtype == torch.float32
    torch.testing.assert_close(again, found, atol=0.02, rtol=0)


def test_perceptual_by_hand():
    image = torch.tensor([[1.0, 1.0, 0.0, 0.0]]).expand(4, 4)[None, None]
    brain_mask = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    healthy = torch.zeros(1, 1, 4, 4)

    def features(x):
        whole = torch.cat([x, 1 - x], 1)
        return [whole, functional.avg_pool2d(whole, 2)]

    # Of unit vectors (1, 0) and (0, 1): squared distance 2.
    found = perceptual(image, healthy, brain_mask, features, layers=1)
    torch.testing.assert_close(found, 2 * image)
    # The second layer is enlarged from 2 x 2: bilinear between 2 and 0.
    second = torch.tensor([2.0, 1.5, 0.5, 0.0]).expand(4, 4)
    both = perceptual(image, healthy, brain_mask, features)
    torch.testing.assert_close(both[0, 0], (2 * image[0, 0] + second) / 2)
    # What is outside the brain is 0 in both.
    assert not perceptual(image * 0, image, image == 0, features, layers=1)[image == 0].any()


@pytest.mark.parametrize(
    "network",
    [ContextVAE((16, 32), 1, (4, 8), 6), UnifiedAutoencoder((16, 32), 1, (4, 8), 6)],
    ids=["context", "unified"],
)
def test_features_are_of_the_methods_own_encoder(network):
    shapes = [part.shape[1:] for part in network.features(torch.rand(2, 1, 16, 32))]
    assert shapes == [(4, 8, 16), (8, 4, 8)]
    detector = StRegA(network, perceptual).eval()
    image = torch.rand(2, 1, 16, 32, generator=torch.Generator().manual_seed(0))
    brain_mask = torch.ones(2, 1, 16, 32, dtype=torch.bool)
    found = detector.detect(image, brain_mask)
    expected = perceptual(image, found.reconstruction, brain_mask, network.features)
    torch.testing.assert_close(found.anomaly_map, expected)
    assert found.anomaly_map.max() > 0


def test_mahalanobis_by_hand():
    image, mean = torch.tensor([[[[0.9, 0.9, 0.2]]]]), torch.full((1, 1, 1, 3), 0.5)
    std = torch.tensor([[[[0.1, 0.0, 0.1]]]])
    brain_mask = torch.ones(1, 1, 1, 3, dtype=torch.bool)
    found = mahalanobis(image, mean, brain_mask, std)
    torch.testing.assert_close(found.flatten(), torch.tensor([4.0, 20.0, 3.0]))
    found = mahalanobis(image, mean, brain_mask, std, sign="positive", min_std=0.2)
    torch.testing.assert_close(found.flatten(), torch.tensor([2.0, 2.0, 0.0]))


def test_the_draws_spread_is_handed_over():
    image = torch.full((1, 1, 1, 1), 0.9)
    brain_mask = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    draws = [torch.full_like(image, value) for value in (0.4, 0.6)]
    found = score_draws(mahalanobis, image, brain_mask, draws)
    assert found.anomaly_map.item() == pytest.approx(0.4 / 0.02**0.5)
    assert found.reconstruction.item() == pytest.approx(0.5)
    # A residual that does not ask for it is averaged over the draws.
    found = score_draws(partial(signed, sign="positive"), image, brain_mask, draws)
    assert found.anomaly_map.item() == pytest.approx(0.4)
    assert found.uncertainty.item() == pytest.approx(0.1)


def test_what_a_method_does_not_have_is_said():
    with pytest.raises(ValueError, match="perceptual needs an encoder"):
        Asymmetry(partial(perceptual, layers=1))
    with pytest.raises(ValueError, match="mahalanobis needs several draws"):
        StRegA(ContextVAE((16, 32), 1, (4, 8), 6), mahalanobis)
    StRegA(ContextVAE((16, 32), 1, (4, 8), 6), mahalanobis, n_samples=2)
    assert bind(signed) is signed

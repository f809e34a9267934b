import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from brainuad.methods.residuals import signed
from brainuad.methods.strega import StRegA, draw_squares, paint_squares
from brainuad.networks.context_vae import ContextVAE, gaussian_kl
from brainuad.types import Batch


@pytest.fixture
def detector():
    torch.manual_seed(0)
    return StRegA(ContextVAE((16, 32), 1, (4, 8), 6), signed)


def _batch():
    image = torch.rand(3, 1, 16, 32, generator=torch.Generator().manual_seed(1))
    return Batch(image, torch.ones(3, 1, 16, 32, dtype=torch.bool))


def test_kl_equals_torch_distributions():
    mu, log_sigma = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    expected = kl_divergence(Normal(mu, log_sigma.exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(gaussian_kl(mu, log_sigma), expected)


def test_kl_by_hand():
    # sigma = e: (1 + e^2 - 1) / 2 - 1, and a log variance would give another number.
    found = gaussian_kl(torch.tensor(1.0), torch.tensor(1.0))
    assert found.item() == pytest.approx((1 + math.e**2 - 1) / 2 - 1)


def test_training_loss_is_the_equation(detector):
    batch = _batch()
    detector.train()
    torch.manual_seed(7)
    terms = detector.loss(batch)
    torch.manual_seed(7)
    mu, log_sigma = detector.network.encode(batch.image)
    z = mu + log_sigma.exp() * torch.randn_like(mu)
    corrupted = paint_squares(batch.image, *draw_squares(batch.image, 3, 0.5))
    kl = gaussian_kl(mu, log_sigma).sum() / mu.numel()
    l1 = (detector.network.decode(z) - batch.image).abs().sum() / batch.image.numel()
    context = (detector.network(corrupted) - batch.image).abs().sum() / batch.image.numel()
    assert terms["loss"].item() == pytest.approx(
        (0.5 * (0.01 * kl + l1) + 0.5 * context).item(), rel=1e-5
    )
    assert terms["context"].item() == pytest.approx(context.item(), rel=1e-5)


def test_validation_uses_the_mean_and_no_squares(detector):
    detector.eval()
    first, second = detector.loss(_batch()), detector.loss(_batch())
    assert first["loss"] == second["loss"]
    assert "context" not in first


def test_reconstruction_is_deterministic_and_of_the_images_shape(detector):
    batch = _batch()
    detector.eval()
    assert torch.equal(detector.reconstruct(*batch), detector.reconstruct(*batch))
    assert detector.reconstruct(*batch).shape == batch.image.shape


def test_squares_have_the_stated_distribution():
    image = torch.rand(4000, 1, 20, 40, generator=torch.Generator().manual_seed(0)) * 3 - 1
    boxes, values = draw_squares(image, 3, 0.5, torch.Generator().manual_seed(1))
    height, width = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    assert torch.equal(height, width)
    assert boxes.amin() >= 0
    assert boxes[..., 2].amax() <= 20
    assert boxes[..., 3].amax() <= 40
    # Uniform number in 0..3, side in 0..10: a used square has side 0 once in eleven.
    assert height.amax() == 10
    share = (height > 0).float().mean().item()
    assert share == pytest.approx(0.5 * 10 / 11, abs=0.02)
    assert height[height > 0].mean().item() == pytest.approx(5.5, abs=0.1)
    none = (height == 0).all(1).float().mean().item()
    assert none == pytest.approx(sum((1 / 11) ** n for n in range(4)) / 4, abs=0.02)
    assert values.amin() >= image.amin()
    assert values.amax() <= image.amax()
    assert values.mean().item() == pytest.approx(0.5, abs=0.05)


def test_painting_by_hand():
    image = torch.zeros(2, 1, 4, 5)
    boxes = torch.tensor([[[0.0, 1, 2, 3], [1, 2, 2, 3]], [[0, 0, 0, 0], [3, 4, 4, 5]]])
    painted = paint_squares(image, boxes, torch.tensor([[1.0, 2.0], [9.0, 3.0]]))
    assert painted[0, 0].tolist() == [[0, 1, 1, 0, 0], [0, 1, 2, 0, 0], [0] * 5, [0] * 5]
    assert painted[1].sum() == 3
    assert painted[1, 0, 3, 4] == 3
    assert image.sum() == 0


@pytest.mark.parametrize(
    ("sign", "expected"), [("abs", [0.2, 0.3]), ("positive", [0.2, 0]), ("negative", [0, 0.3])]
)
def test_residual_signs(sign, expected):
    image = torch.tensor([0.5, 0.1]).reshape(1, 1, 1, 2)
    reconstruction = torch.tensor([0.3, 0.4]).reshape(1, 1, 1, 2)
    found = signed(image, reconstruction, image > 0, sign)
    torch.testing.assert_close(found.flatten(), torch.tensor(expected))


def test_unknown_sign_and_size_are_refused():
    with pytest.raises(ValueError, match="use one of abs"):
        signed(torch.zeros(1), torch.zeros(1), torch.zeros(1), "both")
    with pytest.raises(ValueError, match="multiples of 4"):
        ContextVAE((16, 30), 1, (4, 8), 6)


def test_released_network_has_its_four_halvings_and_no_bias():
    network = ContextVAE((64, 64), 1, (16, 64, 256, 1024), 32)
    assert network.encode(torch.zeros(1, 1, 64, 64))[0].shape == (1, 32, 1, 1)
    assert not any(name.endswith("bias") for name, _ in network.named_parameters())
    assert network.encoder[-1].weight.shape == (64, 1024, 4, 4)

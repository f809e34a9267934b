import copy
import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from brainuad.methods.parts.geco import GECO
from brainuad.methods.parts.residuals import signed
from brainuad.methods.strega import StRegA
from brainuad.networks.context_vae import ContextVAE, gaussian_kl
from brainuad.networks.unified_autoencoder import UnifiedAutoencoder
from brainuad.synthetic.lesions.boxes import draw_boxes, paint_boxes
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


def by_hand(detector, image, seed):
    """The terms as the equation has them: two passes, sums over counts."""
    torch.manual_seed(seed)
    corrupted = paint_boxes(image, *draw_boxes(image, 3, 0.5))
    mu, log_sigma = detector.network.encode(image)
    z = mu + log_sigma.exp() * torch.randn_like(mu)
    kl = gaussian_kl(mu, log_sigma).sum() / mu.numel()
    l1 = (detector.network.decode(z) - image).abs().sum() / image.numel()
    context = (detector.network(corrupted) - image).abs().sum() / image.numel()
    return kl.item(), l1.item(), context.item()


def test_training_loss_is_the_equation(detector):
    batch = _batch()
    detector.train()
    torch.manual_seed(7)
    terms = detector.loss(batch)
    kl, l1, context = by_hand(detector, batch.image, 7)
    expected = 0.5 * (0.01 * kl + l1) + 0.5 * context
    assert terms["loss"].item() == pytest.approx(expected, rel=1e-5)
    assert terms["kl"].item() == pytest.approx(kl, rel=1e-5)
    assert terms["l1"].item() == pytest.approx(l1, rel=1e-5)
    assert terms["context"].item() == pytest.approx(context, rel=1e-5)


def test_factors_weigh_their_terms():
    torch.manual_seed(0)
    network = ContextVAE((16, 32), 1, (4, 8), 6)
    detector = StRegA(
        network, signed, ce_factor=0.2, kl_weight=0.3, reconstruction_weight=2.0
    ).train()
    torch.manual_seed(7)
    loss = detector.loss(_batch())["loss"].item()
    kl, l1, context = by_hand(detector, _batch().image, 7)
    assert loss == pytest.approx(0.8 * (0.3 * kl + 2 * l1) + 0.2 * context, rel=1e-5)


def test_context_term_has_no_kl_and_no_noise():
    torch.manual_seed(0)
    detector = StRegA(ContextVAE((16, 32), 1, (4, 8), 6), signed, ce_factor=1.0).train()
    detector.loss(_batch())["loss"].backward()
    spread = detector.network.encoder[-1].weight.grad[6:]
    assert not spread.any()  # log sigma takes no part


def test_geco_by_hand():
    geco = GECO(goal=0.1, step=0.01, decay=0.9, speedup=10.0)
    geco.update(torch.tensor(0.3))
    assert geco.average.item() == pytest.approx(0.3)
    assert geco.theta.item() == pytest.approx(math.exp(0.1 * 0.2))
    geco.update(torch.tensor(0.1))
    assert geco.average.item() == pytest.approx(0.28)
    assert geco.theta.item() == pytest.approx(math.exp(0.1 * 0.2 + 0.1 * 0.18))
    for _ in range(200):
        geco.update(torch.tensor(0.0))
    assert geco.average.item() == pytest.approx(0, abs=1e-6)
    before = geco.theta.item()
    geco.update(torch.tensor(0.0))
    assert geco.theta.item() == pytest.approx(before * math.exp(-0.01 * 0.1))


def test_geco_weighs_the_reconstruction_and_is_resumed(detector):
    with_geco = StRegA(detector.network, signed, geco=GECO(goal=0.0, step=1.0)).train()
    torch.manual_seed(7)
    with_geco.loss(_batch())
    theta = with_geco.geco.theta.item()
    assert theta > 1.5
    saved = copy.deepcopy(with_geco.state_dict())
    other = StRegA(ContextVAE((16, 32), 1, (4, 8), 6), signed, geco=GECO(goal=0.0, step=1.0))
    other.load_state_dict(saved)
    other.train()
    torch.manual_seed(7)
    terms = other.loss(_batch())
    kl, l1, context = by_hand(other, _batch().image, 7)
    assert terms["loss"].item() == pytest.approx(
        0.5 * (0.01 * kl + theta * l1) + 0.5 * context, rel=1e-5
    )
    assert other.geco.theta > theta
    assert not any(p.requires_grad for p in other.geco.parameters())


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


def test_samples_have_the_posteriors_mean_and_deviation():
    torch.manual_seed(0)
    network = ContextVAE((16, 32), 1, (4, 8), 6)
    detector = StRegA(network, signed, n_samples=6, sample_seed=3).eval()
    batch = _batch()
    found = detector.detect(*batch)
    mu, log_sigma = network.encode(batch.image)
    noise = torch.randn(6, 6, 1, 1, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        decoded = torch.stack([network.decode(mu + log_sigma.exp() * draw) for draw in noise])
    residuals = (batch.image - decoded).abs()
    torch.testing.assert_close(found.anomaly_map, residuals.mean(0))
    torch.testing.assert_close(
        found.uncertainty, residuals.std(0, correction=0), atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close(found.reconstruction, decoded.mean(0))
    alone = detector.detect(batch.image[1:2], batch.brain_mask[1:2])
    torch.testing.assert_close(alone.anomaly_map, found.anomaly_map[1:2], atol=1e-5, rtol=1e-4)


def test_the_mean_has_no_uncertainty(detector):
    assert detector.detect(*_batch()).uncertainty is None
    with pytest.raises(ValueError, match="n_samples is -1"):
        StRegA(detector.network, signed, n_samples=-1)


@pytest.mark.parametrize("shape", [(20, 40), (20, 40, 24)])
def test_boxes_have_the_stated_distribution(shape):
    image = torch.zeros(4000, 1, *shape)
    image[0, 0, 0, 0], image[1, 0, 0, 0] = -1.0, 2.0
    corners, values = draw_boxes(image, 3, 0.5, torch.Generator().manual_seed(1))
    sides = corners[:, :, 1] - corners[:, :, 0]
    side = sides[..., 0]
    assert all(torch.equal(side, sides[..., axis]) for axis in range(len(shape)))
    assert corners.amin() >= 0
    assert (corners[:, :, 1] <= torch.tensor(shape)).all()
    # Uniform number in 0..3, side in 0..10: a used square has side 0 once in eleven.
    assert side.amax() == 10
    share = (side > 0).float().mean().item()
    assert share == pytest.approx(0.5 * 10 / 11, abs=0.02)
    assert side[side > 0].mean().item() == pytest.approx(5.5, abs=0.1)
    none = (side == 0).all(1).float().mean().item()
    assert none == pytest.approx(sum((1 / 11) ** n for n in range(4)) / 4, abs=0.02)
    # Anywhere it fits, as likely: the mean of uniform 0..(length - side).
    for axis, length in enumerate(shape):
        first = corners[:, :, 0, axis][side == 5]
        assert first.mean().item() == pytest.approx((length - 5) / 2, abs=0.08 * length)
    assert values.amin() >= -1
    assert values.amax() <= 2
    assert torch.quantile(values, torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9])).tolist() == (
        pytest.approx([-0.7, -0.25, 0.5, 1.25, 1.7], abs=0.06)
    )


def test_every_number_of_boxes_is_as_likely():
    image = torch.zeros(1, 1, 1, 1).expand(4000, 1, 400, 500)
    corners, _ = draw_boxes(image, 3, 0.5, torch.Generator().manual_seed(2))
    # A used box has side 0 once in 201.
    number = (corners[:, :, 1, 0] > corners[:, :, 0, 0]).sum(1)
    for share in torch.bincount(number, minlength=4) / len(image):
        assert share.item() == pytest.approx(0.25, abs=0.03)


def test_painting_by_hand():
    image = torch.zeros(2, 1, 4, 5)
    corners = torch.tensor(
        [[[[0.0, 1], [2, 3]], [[1, 2], [2, 3]]], [[[0, 0], [0, 0]], [[3, 4], [4, 5]]]]
    )
    painted = paint_boxes(image, corners, torch.tensor([[1.0, 2.0], [9.0, 3.0]]))
    assert painted[0, 0].tolist() == [[0, 1, 1, 0, 0], [0, 1, 2, 0, 0], [0] * 5, [0] * 5]
    assert painted[1].sum() == 3
    assert painted[1, 0, 3, 4] == 3
    assert image.sum() == 0


def test_painting_a_cube():
    corners = torch.tensor([[[[1.0, 0, 2], [3, 2, 4]]]])
    painted = paint_boxes(torch.zeros(1, 1, 4, 4, 4), corners, torch.tensor([[5.0]]))
    assert painted.sum() == 5 * 8
    assert (painted[0, 0, 1:3, 0:2, 2:4] == 5).all()


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


@pytest.mark.parametrize(
    ("features", "latent_dim", "size", "millions"),
    [
        ((16, 64, 256, 1024), 1024, (256, 256), 814.3),
        ((16, 32, 64, 128, 256), 256, (256, 256), 14.0),
        ((16, 32, 64, 128), 128, (96, 112), 2.4),
        ((8, 16, 32, 64), 128, (80, 96, 80), 4.0),
    ],
)
def test_parameter_counts_are_those_of_the_docstring(features, latent_dim, size, millions):
    with torch.device("meta"):
        network = ContextVAE(size, 1, features, latent_dim)
    count = sum(p.numel() for p in network.parameters()) / 1e6
    assert round(count, 1) == millions
    assert f"{features}, {latent_dim}" in ContextVAE.__doc__
    assert f"{millions} M" in ContextVAE.__doc__


def test_volumes_are_learned_and_scored():
    torch.manual_seed(0)
    detector = StRegA(ContextVAE((16, 32, 16), 1, (4, 8), 6), signed).train()
    image = torch.rand(2, 1, 16, 32, 16)
    batch = Batch(image, torch.ones_like(image, dtype=torch.bool))
    torch.manual_seed(7)
    loss = detector.loss(batch)["loss"].item()
    kl, l1, context = by_hand(detector, image, 7)
    assert loss == pytest.approx(0.5 * (0.01 * kl + l1) + 0.5 * context, rel=1e-5)
    assert detector.detect(*batch).anomaly_map.shape == image.shape


def unified(**options):
    torch.manual_seed(0)
    return UnifiedAutoencoder((16, 32), 1, (8, 16), 6, dropout=0, **options)


def test_a_plain_vae_has_no_second_term():
    detector, batch = StRegA(unified(), signed, ce_factor=0, kl_weight=0.3).train(), _batch()
    torch.manual_seed(7)
    terms = detector.loss(batch)
    torch.manual_seed(7)
    mu, log_sigma = detector.network.encode(batch.image)
    z = mu + log_sigma.exp() * torch.randn_like(mu)
    l1 = (detector.network.decode(z) - batch.image).abs().mean()
    expected = 0.3 * gaussian_kl(mu, log_sigma).mean() + l1
    assert set(terms) == {"loss", "l1", "kl"}
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_plain_autoencoder_draws_nothing():
    detector, batch = StRegA(unified(variational=False), signed, ce_factor=0), _batch()
    losses = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        losses.append(detector.train().loss(batch)["loss"].item())
    assert losses[0] == losses[1]
    expected = (detector.network(batch.image) - batch.image).abs().mean()
    assert losses[0] == pytest.approx(expected.item(), rel=1e-5)
    assert detector.loss(batch)["kl"] == 0
    with pytest.raises(ValueError, match="nothing to draw"):
        StRegA(unified(variational=False), signed, n_samples=2)

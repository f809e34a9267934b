import copy
import math
from functools import partial

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from brainuad.methods.parts.geco import GECO
from brainuad.methods.parts.residuals import signed
from brainuad.methods.strega import StRegA, scaled
from brainuad.methods.vae import VAE
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


def by_hand(detector, image, seed, squares="own_side", sampled=False):
    """The terms as the equation has them: two passes, sums over counts."""
    torch.manual_seed(seed)
    corrupted = paint_boxes(image, *draw_boxes(image, 3, 0.5, rule=squares))
    mu, log_sigma = detector.network.encode(image)
    z = mu + log_sigma.exp() * torch.randn_like(mu)
    kl = gaussian_kl(mu, log_sigma).sum() / mu.numel()
    l1 = (detector.network.decode(z) - image).abs().sum() / image.numel()
    context_z, spread = detector.network.encode(corrupted)
    if sampled:
        context_z = context_z + spread.exp() * torch.randn_like(context_z)
    context = (detector.network.decode(context_z) - image).abs().sum() / image.numel()
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


def test_released_training_loss_is_the_equation():
    torch.manual_seed(0)
    network = ContextVAE((16, 32), 1, (4, 8), 6, encoder_kernel=3)
    options = {"squares": "last", "sampled_context": True, "scale_slices": True}
    detector = StRegA(network, signed, **options).train()
    batch = _batch()
    torch.manual_seed(7)
    terms = detector.loss(batch)
    low, high = batch.image.flatten(1).aminmax(dim=1)
    image = (batch.image - low.view(3, 1, 1, 1)) / high.view(3, 1, 1, 1)
    kl, l1, context = by_hand(detector, image, 7, "last", sampled=True)
    assert terms["context"].item() == pytest.approx(context, rel=1e-5)
    assert terms["loss"].item() == pytest.approx(0.5 * (0.01 * kl + l1) + 0.5 * context, rel=1e-5)


@pytest.mark.parametrize("sampled", [False, True])
def test_log_sigma_learns_from_the_context_term_where_it_is_sampled(sampled):
    torch.manual_seed(0)
    network = ContextVAE((16, 32), 1, (4, 8), 6)
    detector = StRegA(network, signed, ce_factor=1.0, sampled_context=sampled).train()
    detector.loss(_batch())["loss"].backward()
    assert detector.network.encoder[-1].weight.grad[6:].any() == sampled


def test_slices_are_scaled_by_their_minimum_and_maximum():
    images = torch.tensor([[0, 1 / 3, 2 / 3], [0.2, 0.6, 0.8], [0, 0, 0]]).reshape(3, 1, 1, 3)
    expected = torch.tensor([[0, 0.5, 1], [0, 0.5, 0.75], [0, 0, 0]])
    torch.testing.assert_close(scaled(images).reshape(3, 3), expected)


@pytest.mark.parametrize("training", [False, True])
def test_only_the_loss_scales_slices(training):
    torch.manual_seed(0)
    network = ContextVAE((16, 32), 1, (4, 8), 6)
    detector = StRegA(network, signed, scale_slices=True).train(training)
    image, brain_mask = _batch()
    image = image - image.amin((1, 2, 3), keepdim=True)
    losses = []
    for each in (image, image / 2):
        torch.manual_seed(7)
        losses.append(detector.loss(Batch(each, brain_mask))["loss"].item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    plain = StRegA(network, signed)
    assert torch.equal(
        detector.anomaly_map(image / 2, brain_mask), plain.anomaly_map(image / 2, brain_mask)
    )


def test_a_map_keeps_the_background_where_asked():
    torch.manual_seed(0)
    network = ContextVAE((16, 32), 1, (4, 8), 6)
    image, brain_mask = _batch()
    brain_mask[..., :8] = False
    image = image * brain_mask
    masked = StRegA(network, signed).anomaly_map(image, brain_mask)
    whole = StRegA(network, signed, keeps_background=True).anomaly_map(image, brain_mask)
    assert not masked[..., :8].any()
    torch.testing.assert_close(whole, (image - network(image)).abs())
    torch.testing.assert_close(whole * brain_mask, masked)


def test_geco_as_released():
    """50 errors of 0.3, then 50 of 0.05, by the equations in plain Python."""
    geco, theta, average = GECO(), 1.0, 1.0
    for error in [0.3] * 50 + [0.05] * 50:
        average = 0.9 * average + 0.1 * error
        gap = average - 0.1
        theta *= math.exp(1e-4 * (2 if gap > 0 else 1) * gap)
        geco.update(torch.tensor(error))
    assert geco.theta.item() == pytest.approx(theta, abs=2e-6)
    assert geco.theta.item() == pytest.approx(1.00334, abs=5e-6)
    assert geco.average.item() == pytest.approx(average, rel=1e-5)


def test_geco_stays_within_its_bounds():
    geco = GECO(goal=0.5, step=50.0)
    for _ in range(20):
        geco.update(torch.tensor(1.0))
    assert geco.theta.item() == pytest.approx(1e4)
    for _ in range(60):
        geco.update(torch.tensor(0.0))
    assert geco.theta.item() == pytest.approx(1e-10)


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


@pytest.mark.slow
def test_every_number_of_boxes_is_as_likely():
    image = torch.zeros(1, 1, 1, 1).expand(2000, 1, 400, 500)
    corners, _ = draw_boxes(image, 3, 0.5, torch.Generator().manual_seed(2))
    # A used box has side 0 once in 201.
    number = (corners[:, :, 1, 0] > corners[:, :, 0, 0]).sum(1)
    for share in torch.bincount(number, minlength=4) / len(image):
        assert share.item() == pytest.approx(0.25, abs=0.03)


def _boxes_as_released(rule):
    """Sides and first pixels of the boxes of 1500 slices of 256 x 256, at most three a slice."""
    image = torch.zeros(1, 1, 1, 1).expand(1500, 1, 256, 256)
    corners, _ = draw_boxes(image, 3, 0.5, torch.Generator().manual_seed(3), rule)
    sides = corners[:, :, 1] - corners[:, :, 0]
    assert torch.equal(sides[..., 0], sides[..., 1])
    return sides[..., 0], corners[:, :, 0]


def test_the_released_code_paints_one_square_on_two_thirds_of_the_slices():
    side, first = _boxes_as_released("last")
    number = (side > 0).sum(1)
    assert number.max() == 1
    # A drawn side is 0 once in 128.
    assert (number == 1).float().mean().item() == pytest.approx(2 / 3 * 127 / 128, abs=0.03)
    used = side > 0
    assert side.max() == 127
    assert side[used].mean().item() == pytest.approx(64, abs=2)
    # numpy.random.randint(0, 256 - side) leaves its end out.
    assert (first + side[..., None]).max() == 255
    assert first[used].mean().item() == pytest.approx((255 - 64) / 2, abs=3)


def test_as_its_arguments_read_the_code_paints_up_to_three_squares_of_one_side():
    side, first = _boxes_as_released("one_side")
    number = (side > 0).sum(1)
    for share in torch.bincount(number, minlength=4) / len(number):
        assert share.item() == pytest.approx(0.25, abs=0.03)
    widest = side.amax(1, keepdim=True).expand_as(side)
    assert torch.equal(side[side > 0], widest[side > 0])
    assert side.max() == 127
    assert (first + side[..., None]).max() == 255
    # Each lies at a place of its own.
    assert not torch.equal(first[number == 2][:, 0], first[number == 2][:, 1])


def test_unknown_rules_of_squares_are_refused(detector):
    with pytest.raises(ValueError, match="use one of own_side, one_side, last"):
        draw_boxes(torch.zeros(1, 1, 8, 8), 3, 0.5, rule="all")
    with pytest.raises(ValueError, match="squares is 'all'"):
        StRegA(detector.network, signed, squares="all")


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


@pytest.mark.parametrize(
    ("options", "kernel", "count"),
    # 3 x 3 in ceVae/ae_bases.py:372; 4 x 4 in the older misc/cevae.py, and in old checkpoints.
    [({"encoder_kernel": 3}, 3, 812_295_576), ({}, 4, 814_252_552)],
)
def test_the_released_network(options, kernel, count):
    with torch.device("meta"):
        network = ContextVAE((256, 256), 1, (16, 64, 256, 1024), 1024, **options)
        assert network(torch.zeros(1, 1, 256, 256)).shape == (1, 1, 256, 256)
    assert not any(name.endswith("bias") for name, _ in network.named_parameters())
    weights = [
        tuple(layer.weight.shape)
        for layer in [*network.encoder, *network.decoder]
        if not isinstance(layer, torch.nn.PReLU)
    ]
    k = (kernel, kernel)
    down = [(16, 1, *k), (64, 16, *k), (256, 64, *k), (1024, 256, *k), (2048, 1024, 16, 16)]
    up = [(1024, 1024, 16, 16), (1024, 256, 4, 4), (256, 64, 4, 4), (64, 16, 4, 4), (16, 1, 4, 4)]
    assert weights == down + up
    assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize("size", [(16, 32), (16, 32, 16)])
def test_either_kernel_halves_the_size(size):
    for kernel in (3, 4):
        network = ContextVAE(size, 1, (4, 8), 6, encoder_kernel=kernel)
        shapes = [tuple(found.shape[2:]) for found in network.features(torch.zeros(1, 1, *size))]
        assert shapes == [tuple(n // 2 for n in size), tuple(n // 4 for n in size)]
    with pytest.raises(ValueError, match="encoder_kernel is 5"):
        ContextVAE(size, 1, (4, 8), 6, encoder_kernel=5)


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


@pytest.mark.parametrize("make", [partial(StRegA, ce_factor=0), VAE])
def test_a_plain_vae_has_no_second_term(make):
    detector, batch = make(unified(), signed, kl_weight=0.3).train(), _batch()
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

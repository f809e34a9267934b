"""MAD-AD with networks whose answers are known, on latents that are the pixels themselves."""

from types import SimpleNamespace

import pytest
import torch
from monai.networks.nets.autoencoderkl import AutoencoderKL
from torch import nn
from torch.nn import functional

from brainuad.diffusion.masks import Patches
from brainuad.diffusion.process import Sampling, restore
from brainuad.diffusion.schedule import cosine_alpha_bar
from brainuad.methods import madad
from brainuad.methods.madad import MADAD
from brainuad.methods.madad_clean import MADADClean
from brainuad.methods.parts.prototypes import HealthyPrototypes
from brainuad.methods.parts.residuals import signed
from brainuad.networks.latent_autoencoder import LatentAutoencoder
from brainuad.networks.masked_unet import MaskedUNet
from brainuad.tiles.latents import Latents
from brainuad.training.module import DetectorModule
from brainuad.types import Batch

ALPHA_BAR = cosine_alpha_bar(10)
SIZE = (16, 24)
CELLS = (8, 12)


class Pixels(LatentAutoencoder):
    """2 x 2 pixels are a cell of four channels; decoding adds `error`."""

    def __init__(self, error=0.0):
        super().__init__(nn.Identity())
        self.error = error
        self.images = []

    downsampling = 2
    latent_channels = 4

    def encode(self, image):
        z = functional.pixel_unshuffle(image, 2)
        return z, torch.full_like(z, 0.25)

    def decode(self, z):
        return functional.pixel_shuffle(z, 2) + self.error


class Known(nn.Module):
    """Says what `answer(x_t, t)` says, and remembers what it was asked."""

    channels = 4
    hints = 0

    def __init__(self, answer):
        super().__init__()
        self.answer = answer
        self.asked = []

    def forward(self, *arguments):
        self.asked.append(arguments)
        return self.answer(*arguments)


def constant(clean, mask):
    """A network that says the same of every cell."""
    return Known(lambda x_t, t: (torch.full_like(x_t, clean), torch.full_like(x_t[:, :1], mask)))


def shrinking(mask=0.0):
    """A network to which half of what it sees is clean."""
    return Known(lambda x_t, t: (x_t / 2, torch.full_like(x_t[:, :1], mask)))


SAMPLING = {"sampling_steps": "steps"} | {n: n for n in ("eta", "mask_threshold", "seed")}
PATCHES = {"patch_sizes": "sizes", "patch_probabilities": "probabilities"}
PATCHES |= {"max_fraction": "max_fraction"}
OURS = ("prototypes", "latent_noise", "scores_by", "reference")


def build(network, autoencoder=None, **options):
    """A detector of the options, those of its groups by their own names; ours where one is."""
    if "prototypes" in options:
        network.hints = network.channels
    for group, kind, names in (("sampling", Sampling, SAMPLING), ("patches", Patches, PATCHES)):
        if taken := {new: options.pop(old) for old, new in names.items() if old in options}:
            options[group] = kind(**taken)
    make = MADADClean if set(options) & set(OURS) else MADAD
    return make(autoencoder or Pixels(), network, signed, **options).eval()


def batch_of(count=3, seed=1):
    image = torch.rand(count, 1, *SIZE, generator=torch.Generator().manual_seed(seed))
    return Batch(image, torch.ones(count, 1, *SIZE, dtype=torch.bool))


def z_of(batch):
    return functional.pixel_unshuffle(batch.image, 2)


def latents_of(count, seed=1):
    mean = torch.randn(count, 4, *CELLS, generator=torch.Generator().manual_seed(seed))
    return Latents(mean, torch.full_like(mean, 0.25), torch.ones(count, 1, *CELLS))


def noise_of(seed, steps=10):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(steps, 4, *CELLS, generator=generator)


@pytest.mark.parametrize("mask_weight", [0.001, 2.0])
def test_loss_by_hand(mask_weight):
    network, batch = constant(0.3, 0.8), batch_of()
    terms = build(network, mask_weight=mask_weight).loss(batch)
    x_0, x_t = z_of(batch), network.asked[0][0]
    # What was not noised is what it was, bit for bit: that is the mask.
    mask = (x_t == x_0).all(1, keepdim=True).float()
    assert 0 < mask.mean() < 1
    latent = ((0.3 - x_0) ** 2).sum().item() / x_0.numel()
    found = ((0.8 - mask) ** 2).sum().item() / mask.numel()
    assert terms["latent"].item() == pytest.approx(latent, rel=1e-5)
    assert terms["mask"].item() == pytest.approx(found, rel=1e-5)
    assert terms["loss"].item() == pytest.approx(latent + mask_weight * found, rel=1e-5)


def test_a_perfect_network_loses_nothing():
    batch = batch_of()
    x_0 = z_of(batch)
    network = Known(lambda x_t, t: (x_0, (x_t == x_0).all(1, keepdim=True).float()))
    assert build(network).loss(batch)["loss"].item() == 0


@pytest.mark.parametrize("training", [True, False])
def test_patches_are_noised_by_the_timestep_that_the_network_is_told(training):
    network, latents = constant(0.0, 0.5), latents_of(400)
    latents.std.zero_()
    single = {"patch_sizes": [1], "patch_probabilities": [1.0]}
    detector = build(network, **single).train(training)
    torch.manual_seed(0)
    detector.loss(latents)
    x_t, t = network.asked[0]
    noised = (x_t != latents.mean).any(1, keepdim=True)
    share = noised.flatten(1).float().mean(1)
    assert share.max() <= 0.4 + 1 / 96
    assert share.mean().item() == pytest.approx(0.2, abs=0.02)
    assert set(t.tolist()) == set(range(10))
    alpha_bar = ALPHA_BAR[t].view(-1, 1, 1, 1)
    eps = (x_t - alpha_bar.sqrt() * latents.mean) / (1 - alpha_bar).sqrt()
    for step in (0, 9):
        drawn = eps[t == step][noised[t == step].expand(-1, 4, -1, -1)]
        assert drawn.mean().item() == pytest.approx(0, abs=0.05)
        assert drawn.std().item() == pytest.approx(1, abs=0.05)


def test_what_is_not_brain_is_never_noised():
    network, batch = constant(0.0, 0.5), batch_of(400)
    batch.brain_mask[..., 12:] = False
    # Draws of training are the global generator's, whose state is of the tests before.
    torch.manual_seed(0)
    build(network, max_fraction=1.0).train().loss(batch)
    x_t = network.asked[0][0]
    moved = (x_t - z_of(batch)).abs().mean((0, 1))
    # Latents are sampled in training: the background moves by the posterior, 0.25, alone.
    assert (moved[:, 6:] < 0.3).all()
    assert (moved[:, :6] > 0.4).all()


def test_the_network_never_sees_the_true_mask():
    seen, terms = [], []
    for fraction in (0.0, 0.9):
        network = constant(0.3, 0.8)
        detector = build(network, max_fraction=fraction)
        # Without noise x_t is x_0 whatever the mask is.
        detector.alpha_bar.fill_(1.0)
        terms.append(detector.loss(batch_of()))
        seen.append(network.asked)
    (first,), (second,) = seen
    assert terms[0]["mask"] != terms[1]["mask"]
    assert len(first) == len(second) == 2
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_latents_are_sampled_in_training_and_means_in_validation():
    network = constant(0.0, 1.0)
    detector = build(network, max_fraction=0.0)
    latents = Latents(*(part[:1].expand(4000, -1, -1, -1) for part in latents_of(1)))
    detector.loss(latents)
    assert torch.equal(network.asked[0][0], latents.mean)
    detector.train()
    torch.manual_seed(0)
    detector.loss(latents)
    x_0 = network.asked[1][0]
    torch.testing.assert_close(x_0.mean(0), latents.mean[0], atol=0.02, rtol=0)
    torch.testing.assert_close(x_0.std(0), latents.std[0], atol=0.02, rtol=0)


def test_sampling_and_noising_are_independent():
    network = constant(0.0, 1.0)
    one = {"max_fraction": 1.0, "patch_sizes": [1], "patch_probabilities": [1.0]}
    latents = latents_of(400)
    latents.mean.zero_()
    latents.std.fill_(1.0)
    torch.manual_seed(0)
    build(network, **one).train().loss(latents)
    # Of unit variance before and after, whatever the timestep, unless one noise made both.
    assert network.asked[0][0].std().item() == pytest.approx(1, abs=0.02)


def test_images_and_their_latents_have_the_same_loss():
    network, batch = constant(0.3, 0.8), batch_of()
    detector = build(network)
    encoded = detector.encode(*batch)
    torch.testing.assert_close(encoded.brain_share, torch.ones(3, 1, *CELLS))
    assert detector.loss(batch)["loss"] == detector.loss(encoded)["loss"]


def test_validation_draws_belong_to_the_batch_number_alone():
    detector, latents = build(constant(0.0, 0.5)), latents_of(3)
    module = DetectorModule(detector)
    module.log_dict = lambda *arguments, **options: None  # nothing logs without a trainer

    def seen(number):
        module.validation_step(latents, number)
        return detector.network.asked[-1]

    torch.manual_seed(0)
    first = seen(0)
    state = torch.get_rng_state()
    assert any(not torch.equal(a, b) for a, b in zip(first, seen(1), strict=True))
    torch.manual_seed(5)
    # The same whatever the global generators say, which a device has of its own.
    assert all(torch.equal(a, b) for a, b in zip(first, seen(0), strict=True))
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)


def test_validation_meets_patches_of_many_sizes():
    detector = build(constant(0.0, 0.5), max_fraction=1.0)
    module = DetectorModule(detector)
    module.log_dict = lambda *arguments, **options: None
    latents, often = latents_of(1), set()
    for number in range(12):
        module.validation_step(latents, number)
        noised = (detector.network.asked[-1][0] != latents.mean).any(1)[0]
        often.add(int(noised.sum()))
    assert len(often) > 6


def oracle_case():
    """A batch with foreign cells, the healthy latent behind it, and where it is foreign."""
    batch = batch_of()
    mask = torch.ones(3, 1, *CELLS)
    mask[:, :, 2:5, 3:7] = 0
    healthy = torch.where(mask.bool(), z_of(batch), torch.full_like(z_of(batch), 0.5))
    return batch, healthy, mask


@pytest.mark.parametrize("options", [{}, {"eta": 0.0}, {"sampling_steps": 1}, {"n_samples": 3}])
def test_an_oracle_restores_what_is_foreign_and_leaves_the_rest_alone(options):
    batch, healthy, mask = oracle_case()
    found = build(Known(lambda x_t, t: (healthy, mask)), **options).detect(*batch)
    expected = functional.pixel_shuffle(healthy, 2)
    torch.testing.assert_close(found.reconstruction, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.anomaly_map, (batch.image - expected).abs(), atol=1e-5, rtol=0)
    kept = mask.repeat_interleave(2, 2).repeat_interleave(2, 3) == 1
    assert not found.anomaly_map[kept].any()
    assert found.anomaly_map[~kept].mean() > 0.2


@pytest.mark.parametrize(
    ("options", "timesteps"),
    [
        ({}, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
        ({"sampling_steps": 4}, [9, 6, 3, 0]),
        ({"sampling_steps": 1}, [0]),
        ({"num_timesteps": 3}, [2, 1, 0]),
    ],
)
def test_the_sampler_visits_its_timesteps(options, timesteps):
    network = shrinking()
    build(network, **options).detect(*batch_of())
    assert [t.tolist() for _, t in network.asked] == [[t] * 3 for t in timesteps]


@pytest.mark.parametrize(
    "options", [{}, {"eta": 0.0}, {"eta": 1.0, "seed": 3}, {"sampling_steps": 4, "seed": 1}]
)
def test_detection_is_the_sampler_between_encoder_and_decoder(options):
    batch, network = batch_of(), shrinking()
    found = build(network, **options).detect(*batch)
    steps = {None: list(range(9, -1, -1)), 4: [9, 6, 3, 0]}[options.get("sampling_steps")]
    eps = noise_of(options.get("seed", 0), len(steps))
    restored = restore(network, z_of(batch), ALPHA_BAR, steps, eps, options.get("eta", 0.5))
    expected = functional.pixel_shuffle(restored, 2)
    torch.testing.assert_close(found.reconstruction, expected)
    torch.testing.assert_close(found.anomaly_map, (batch.image - expected).abs())
    assert found.uncertainty is None


def test_the_seed_counts_where_there_is_noise():
    batch = batch_of()

    def found(**options):
        return build(shrinking(), **options).anomaly_map(*batch)

    assert torch.equal(found(seed=1), found(seed=1))
    assert not torch.equal(found(seed=1), found(seed=2))
    assert torch.equal(found(seed=1, eta=0.0), found(seed=2, eta=0.0))


@pytest.mark.parametrize(("threshold", "moves"), [(0.5, False), (0.6, False), (0.7, True)])
def test_cells_at_the_threshold_keep_their_value(threshold, moves):
    found = build(constant(0.2, 0.6), mask_threshold=threshold).detect(*batch_of())
    assert found.anomaly_map.any() == moves
    if moves:
        torch.testing.assert_close(
            found.reconstruction, torch.full((3, 1, *SIZE), 0.2), atol=1e-5, rtol=0
        )


def test_above_one_the_mask_is_ignored():
    found = build(constant(0.2, 1.0), mask_threshold=1.1).detect(*batch_of())
    torch.testing.assert_close(
        found.reconstruction, torch.full((3, 1, *SIZE), 0.2), atol=1e-5, rtol=0
    )


def test_samples_are_the_runs_of_the_seeds_from_here_on():
    batch = batch_of()
    found = build(shrinking(), seed=4, n_samples=3).detect(*batch)
    single = [build(shrinking(), seed=seed).detect(*batch) for seed in (4, 5, 6)]
    maps = torch.stack([one.anomaly_map for one in single])
    torch.testing.assert_close(found.anomaly_map, maps.mean(0))
    torch.testing.assert_close(found.uncertainty, maps.std(0, correction=0), atol=1e-6, rtol=1e-4)
    healthy = torch.stack([one.reconstruction for one in single]).mean(0)
    torch.testing.assert_close(found.reconstruction, healthy)


def test_the_mask_is_a_score_without_sampling():
    batch = batch_of()
    ramp = torch.linspace(0, 1, CELLS[1]).expand(3, 1, *CELLS)
    network = Known(lambda x_t, t: (x_t, (1 - ramp) * (1 - t.view(-1, 1, 1, 1) / 10)))
    found = build(network, scores_by="mask", sampling_steps=2).detect(*batch)
    assert found.reconstruction is None
    assert found.uncertainty is None
    assert [t.tolist() for _, t in network.asked] == [[9] * 3, [0] * 3]
    assert all(torch.equal(x_t, z_of(batch)) for x_t, _ in network.asked)
    # The mean of m over the timesteps is 0.55 (1 - ramp).
    at_cells = functional.avg_pool2d(found.anomaly_map, 2)[..., 1:-1]
    torch.testing.assert_close(at_cells, (1 - 0.55 * (1 - ramp))[..., 1:-1])


def test_the_autoencoders_own_error_cancels_unless_the_input_is_the_reference():
    batch, autoencoder = batch_of(), Pixels(error=0.1)
    decoded = build(constant(0.0, 1.0), autoencoder).anomaly_map(*batch)
    against_input = build(constant(0.0, 1.0), autoencoder, reference="input").anomaly_map(*batch)
    assert not decoded.any()
    torch.testing.assert_close(against_input, torch.full_like(against_input, 0.1))


def test_the_clean_latent_is_predicted_once_at_the_last_timestep_for_every_cell():
    batch, network = batch_of(), shrinking(mask=1.0)
    found = build(network, Pixels(error=0.1), scores_by="clean").detect(*batch)
    # Half of z everywhere, whatever the mask; the autoencoder's own error cancels.
    torch.testing.assert_close(found.anomaly_map, batch.image / 2)
    torch.testing.assert_close(found.reconstruction, batch.image / 2 + 0.1)
    ((z, t),) = network.asked
    assert torch.equal(z, z_of(batch))
    assert t.tolist() == [9, 9, 9]


@pytest.mark.parametrize(
    "options", [{}, {"n_samples": 2}, {"scores_by": "mask"}, {"scores_by": "clean"}]
)
def test_the_map_does_not_depend_on_the_batch(options):
    batch = batch_of(5)
    network = Known(lambda x_t, t: (x_t / 2, x_t.mean(1, keepdim=True)))
    detector = build(network, **options)
    whole = detector.detect(*batch)
    alone = detector.detect(batch.image[3:4], batch.brain_mask[3:4])
    for several, one in zip(whole, alone, strict=True):
        assert (several is None) == (one is None)
        if several is not None:
            assert torch.equal(several[3:4], one)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scores_by": "both"}, "scores_by is 'both'; use residual, mask or clean"),
        ({"reference": "twin"}, "reference is 'twin'; use decoded or input"),
        ({"n_samples": 0}, "n_samples is 0"),
        ({"n_samples": 2, "scores_by": "clean"}, "every draw is the same; use scores_by"),
        ({"n_samples": 2, "eta": 0.0}, "every draw is the same; use eta=0.5"),
        ({"eta": 1.5}, "eta is 1.5"),
        ({"eta": -0.1}, "eta is -0.1"),
        ({"sampling_steps": 0}, "sampling_steps is 0; use 1 to 10"),
        ({"sampling_steps": 11}, "sampling_steps is 11; use 1 to 10"),
        ({"num_timesteps": 0}, "num_timesteps is 0|sampling_steps is 0"),
        ({"latent_copies": -1}, "latent_copies is -1"),
        ({"max_fraction": 1.2}, "max_fraction is 1.2"),
        ({"patch_sizes": [1, 2]}, "2 sizes and 4 probabilities"),
        ({"patch_sizes": [0, 1, 2, 4]}, "sizes are \\[0, 1, 2, 4\\].*1 cell or more"),
        ({"patch_probabilities": [0.0] * 4}, "not all 0"),
        ({"patch_probabilities": [-1, 1, 1, 1]}, "probabilities of 0 or more"),
    ],
)
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        build(shrinking(), **options)


def test_latents_of_other_channels_are_refused():
    network = shrinking()
    network.channels = 8
    with pytest.raises(ValueError, match="8 channels.*have 4; set model.network.channels"):
        build(network)


@pytest.mark.parametrize(("hints", "prototypes"), [(4, None), (0, HealthyPrototypes())])
def test_a_network_takes_hints_where_there_are_prototypes_and_nowhere_else(hints, prototypes):
    network = shrinking()
    network.hints = hints
    wanted = 4 - hints
    with pytest.raises(ValueError, match=f"takes {hints} .* set model.network.hints={wanted}"):
        MADADClean(Pixels(), network, signed, prototypes=prototypes)
    if prototypes is None:
        with pytest.raises(ValueError, match="set model.network.hints=0"):
            MADAD(Pixels(), network, signed)


def real():
    """A real autoencoder and network, as small as they get."""
    torch.manual_seed(0)
    none = (False, False)
    inner = AutoencoderKL(2, 1, 1, 1, (8, 8), none, 4, 4)
    network = MaskedUNet(4, 8, 2, (1, 2), 1, 0.0, 4, none)
    return MADAD(LatentAutoencoder(inner), network, signed, lambda p: torch.optim.SGD(p, 0.1))


def test_the_autoencoder_is_frozen_and_the_network_learns():
    detector = real().train()
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    optimizer = DetectorModule(detector).configure_optimizers()
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert held == {id(parameter) for parameter in detector.network.parameters()}
    assert not any(module.training for module in detector.first_stage.modules())
    detector.loss(batch_of())["loss"].backward()
    optimizer.step()
    after = detector.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed
    assert all(name.startswith("network.") for name in changed)


def test_latents_are_encoded_in_float32_under_half_precision():
    detector, batch = real().eval(), batch_of()
    with torch.autocast("cpu", torch.bfloat16):
        encoded = detector.encode(*batch)
    assert encoded.mean.dtype == encoded.std.dtype == torch.float32
    # A cache made on this device holds what a training in half precision encodes on it.
    assert torch.equal(encoded.mean, detector.encode(*batch).mean)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="half precision is a GPU's")
def test_latents_are_encoded_in_half_precision_on_a_gpu_unless_asked_otherwise():
    detector, batch = real().eval(), batch_of()
    expected = detector.encode(*batch).mean
    detector.cuda()
    errors = []
    for detector.half_encoding in (True, False):
        errors.append((detector.encode(*batch).mean.cpu() - expected).abs().max().item())
    assert errors[0] > 10 * errors[1]


def test_latents_are_kept_by_the_precision_they_were_encoded_in(tmp_path, monkeypatch):
    keys = []
    monkeypatch.setattr(madad, "build_latents", lambda *given: keys.append(given[2]))
    tiles = SimpleNamespace(augment=None)
    for half in (True, False):
        build(shrinking(), half_encoding=half).training_set(tiles, tmp_path)
    assert keys[0] != keys[1]


def test_the_network_sees_the_prototype_of_the_noised_latent_and_of_the_scan():
    """By x_t in training, which does not say what is noised, and by the scan's own z throughout."""
    network = Known(lambda x, t: (x[:, :4] / 2, torch.zeros_like(x[:, :1])))
    detector = build(network, prototypes=HealthyPrototypes(3, 1))
    batch = batch_of()
    assert detector.traits.places == "used"
    assert build(shrinking()).traits.places == "ignored"
    detector.measure([batch])
    assert detector.prototypes.images.shape == (3, 4, *CELLS)
    detector.train().loss(batch)
    detector.eval().detect(*batch)
    trained, *sampled = (x for x, _ in network.asked)
    every = torch.ones(3, 1, *CELLS, dtype=torch.bool)
    x_t, hint = trained.split(4, dim=1)
    assert torch.equal(hint, detector.prototypes.nearest(x_t, every))
    assert not torch.equal(sampled[-1][:, :4], z_of(batch))
    for x in sampled:
        assert torch.equal(x[:, 4:], detector.prototypes.nearest(z_of(batch), every))


def test_a_network_that_corrects_nothing_restores_the_prototype_where_cells_move():
    def answer(x, t):
        mask = torch.zeros_like(x[:, :1])
        mask[..., :6] = 1
        return torch.zeros_like(x[:, :4]), mask

    detector = build(Known(answer), prototypes=HealthyPrototypes(1, 1), eta=0.0)
    batch = batch_of()
    detector.measure([batch])
    found = detector.detect(*batch).reconstruction
    mean = z_of(batch).half().float().mean(0).expand(3, -1, -1, -1)
    expected = torch.cat([z_of(batch)[..., :6], mean[..., 6:]], dim=3)
    torch.testing.assert_close(found, functional.pixel_shuffle(expected, 2))


def test_noise_takes_the_statistics_of_healthy_brain_cells():
    batch = batch_of(200)
    # Cells of four equal pixels: latents have one direction, three are unused.
    image = functional.interpolate(batch.image[..., ::2, ::2], scale_factor=2)
    image, brain_mask = image.clone(), batch.brain_mask.clone()
    brain_mask[..., 16:] = False
    image[..., 16:] = 1.0
    network = constant(0.0, 0.5)
    detector = build(network, latent_noise=True, max_fraction=1.0, num_timesteps=1)
    detector.measure([Batch(image[:100], brain_mask[:100]), Batch(image[100:], brain_mask[100:])])
    cells = image[..., ::2, :16:2]
    torch.testing.assert_close(detector.noise_mean, cells.mean().expand(4), atol=2e-2, rtol=0)
    detector.alpha_bar.fill_(0.0)
    with torch.autocast("cpu", torch.bfloat16):
        detector.eval().loss(Batch(image, brain_mask))
    x_t, z = network.asked[0][0], functional.pixel_unshuffle(image, 2)
    noised = (x_t != z).any(1)
    assert not noised[..., 8:].any()
    drawn = x_t.movedim(1, -1)[noised]
    assert (drawn - drawn[:, :1]).abs().max() < 1e-3
    assert drawn.mean().item() == pytest.approx(cells.mean().item(), abs=0.02)
    assert drawn.std().item() == pytest.approx(cells.std().item(), abs=0.02)

"""The first stage's objective term by term, its examination, and both networks' gradients."""

import math

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from monai.networks.nets.autoencoderkl import AutoencoderKL
from monai.networks.nets.patchgan_discriminator import PatchDiscriminator
from skimage.metrics import structural_similarity
from torch import nn
from torch.utils.data import DataLoader

from brainuad.errors import InputError
from brainuad.methods.autoencoder import KLAutoencoder, reconstruction_quality
from brainuad.methods.parts.residuals import signed
from brainuad.networks.latent_autoencoder import LatentAutoencoder
from brainuad.records.fields import picked
from brainuad.records.stage_quality import StageQuality
from brainuad.tiles.cache import brain_tiles
from brainuad.training.module import DetectorModule
from brainuad.types import Batch
from brainuad.volumes.tiling import SliceTiling

TILING = SliceTiling("axial", (24, 32))


class Judge(nn.Module):
    """A discriminator of one convolution; its last output is its opinion."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 3)

    def forward(self, image):
        return [image, self.layer(image)]


def network(levels=2):
    torch.manual_seed(0)
    channels, none = (8,) * levels, (False,) * levels
    return LatentAutoencoder(AutoencoderKL(2, 1, 1, 1, channels, none, 4, 4))


def build(**options):
    options = {"optimizer": lambda p: torch.optim.SGD(p, 0.1)} | options
    return KLAutoencoder(network(options.pop("levels", 2)), signed, **options)


def adversarial(**options):
    return build(**({"discriminator": Judge, "adversarial_weight": 0.5} | options))


def batch_of(count=3, size=(16, 24)):
    image = torch.rand(count, 1, *size, generator=torch.Generator().manual_seed(1))
    return Batch(image, torch.ones(count, 1, *size, dtype=torch.bool))


def by_hand(detector, image, noise):
    """Reconstruction, L1 in [-1, 1] and KL, each written out, without the latent's scale."""
    mean, std = detector.autoencoder.network.encode(2 * image - 1)
    inside = detector.autoencoder.network.decode(mean + std * noise)
    l1 = (inside - (2 * image - 1)).abs().sum().item() / image.numel()
    kl = (mean**2 + std**2 - 1 - 2 * torch.log(std)).sum().item() / 2 / mean.numel()
    return inside, l1, kl


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_training_loss_is_the_equation(scale):
    detector, batch = build(kl_weight=0.2).train(), batch_of()
    detector.autoencoder.scale.fill_(scale)
    torch.manual_seed(7)
    terms = detector.loss(batch)
    torch.manual_seed(7)
    _, l1, kl = by_hand(detector, batch.image, torch.randn(3, 4, 8, 12))
    assert terms["l1"].item() == pytest.approx(l1, rel=1e-4)
    assert terms["kl"].item() == pytest.approx(kl, rel=1e-4)
    assert terms["loss"].item() == pytest.approx(l1 + 0.2 * kl, rel=1e-4)
    assert set(terms) == {"loss", "l1", "kl"}


def test_validation_is_of_the_mean_and_without_the_discriminator():
    detector, batch = adversarial(kl_weight=0.2, adversarial_start=0).eval(), batch_of()
    state = torch.get_rng_state()
    terms = detector.loss(batch)
    assert torch.equal(torch.get_rng_state(), state)
    _, l1, kl = by_hand(detector, batch.image, 0)
    assert terms["loss"].item() == pytest.approx(l1 + 0.2 * kl, rel=1e-4)
    assert set(terms) == {"loss", "l1", "kl"}


def test_adversarial_terms_by_hand():
    detector, batch = adversarial(kl_weight=0.2, adversarial_start=0).train(), batch_of()
    torch.manual_seed(7)
    terms = detector.loss(batch)
    torch.manual_seed(7)
    fake, l1, kl = by_hand(detector, batch.image, torch.randn(3, 4, 8, 12))
    of_fake = detector.discriminator.layer(fake)
    of_real = detector.discriminator.layer(2 * batch.image - 1)
    generator = ((of_fake - 1) ** 2).mean().item()
    discriminator = ((of_fake**2).mean().item() + ((of_real - 1) ** 2).mean().item()) / 2
    # Opinions of both signs, where an activation before the squares would show.
    assert of_fake.min() < 0 < of_real.max()
    assert terms["generator"].item() == pytest.approx(generator, rel=1e-4)
    assert terms["discriminator"].item() == pytest.approx(discriminator, rel=1e-4)
    expected = l1 + 0.2 * kl + 0.5 * (generator + discriminator)
    assert terms["loss"].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("term", "moved", "still"),
    [
        ("generator", "autoencoder", "discriminator"),
        ("discriminator", "discriminator", "autoencoder"),
    ],
)
def test_each_term_reaches_its_own_network_alone(term, moved, still):
    detector = adversarial().train()
    detector.loss(batch_of())[term].backward()
    assert all(parameter.grad is None for parameter in getattr(detector, still).parameters())
    assert all(
        parameter.grad is not None and parameter.grad.any()
        for name, parameter in getattr(detector, moved).named_parameters()
        if "log_sigma" not in name and not name.endswith("bias")
    )


class Watch(Callback):
    """The discriminator's weights and the loss after each step."""

    def __init__(self):
        self.weights, self.losses = [], []

    def on_train_batch_start(self, trainer, module, batch, index):
        torch.manual_seed(index)

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        self.weights.append(module.detector.discriminator.layer.weight.clone())
        self.losses.append(outputs["loss"].item())


def fit(detector, steps=4):
    watch = Watch()
    silent = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, enable_model_summary=False, callbacks=[watch], **silent
    )
    data = DataLoader([Batch(*batch_of(1))] * steps, collate_fn=lambda b: b[0])
    trainer.fit(DetectorModule(detector), data)
    return watch


def test_the_discriminator_waits_for_its_start():
    plain = fit(adversarial(adversarial_weight=1e-12, adversarial_start=0))
    late = fit(adversarial(adversarial_start=2))
    before = adversarial().discriminator.layer.weight
    for step in (0, 1):
        assert torch.equal(late.weights[step], before)
        assert late.losses[step] == pytest.approx(plain.losses[step], rel=1e-6)
    for step in (2, 3):
        assert not torch.equal(late.weights[step], late.weights[step - 1])
        assert late.losses[step] != pytest.approx(plain.losses[step], rel=1e-3)


def test_every_parameter_has_a_gradient_before_the_start():
    detector = adversarial(adversarial_start=10).train()
    detector.loss(batch_of())["loss"].backward()
    assert all(parameter.grad is not None for parameter in detector.parameters())
    assert not any(parameter.grad.any() for parameter in detector.discriminator.parameters())


def test_no_weight_no_discriminator():
    def factory():
        raise AssertionError("not needed")

    assert build(discriminator=factory).discriminator is None
    with pytest.raises(ValueError, match="give a discriminator"):
        build(adversarial_weight=0.1)


@pytest.mark.parametrize(("levels", "downsampling"), [(3, 4), (4, 8)])
def test_both_downsamplings_train_with_the_patch_discriminator(levels, downsampling):
    def judge():
        return PatchDiscriminator(2, 4, 1, num_layers_d=2)

    detector = build(
        levels=levels, discriminator=judge, adversarial_weight=0.1, adversarial_start=0
    ).train()
    assert detector.autoencoder.downsampling == downsampling
    optimizer, batch = DetectorModule(detector).configure_optimizers(), batch_of(2, (32, 48))
    before = [parameter.detach().clone() for parameter in detector.parameters()]
    detector.loss(batch)["loss"].backward()
    optimizer.step()
    moved = [not torch.equal(*pair) for pair in zip(before, detector.parameters(), strict=True)]
    # Biases in front of a normalisation over the batch change nothing and stay.
    assert sum(moved) > 0.9 * len(moved)
    assert detector.anomaly_map(*batch).shape == batch.image.shape


def test_it_scores_by_the_residual_of_the_mean():
    detector, batch = build().eval(), batch_of()
    found = detector.detect(*batch)
    inside, *_ = by_hand(detector, batch.image, 0)
    torch.testing.assert_close(found.reconstruction, (inside + 1) / 2)
    torch.testing.assert_close(found.anomaly_map, (batch.image - (inside + 1) / 2).abs())


class Given(nn.Module):
    """An autoencoder that returns a given reconstruction."""

    def __init__(self, reconstruction):
        super().__init__()
        self.parts = list(reconstruction.split(32))

    def encode(self, image):
        return image, image

    def decode(self, z):
        return self.parts.pop(0)


def test_quality_is_psnr_and_ssim_inside_the_brain():
    generator = torch.Generator().manual_seed(0)
    # More than a batch of tiles; the brain keeps off the border, where windows are mirrored.
    mask = torch.zeros(40, 1, 32, 32, dtype=torch.bool)
    mask[:, :, 6:-6, 6:-8] = True
    tiles = torch.rand(40, 1, 32, 32, generator=generator) * mask
    found = tiles + 0.3 * torch.randn(40, 1, 32, 32, generator=generator)
    psnr, ssim = reconstruction_quality(Given(found), tiles, mask)
    shown = np.where(mask, found.clamp(0, 1), 0)
    error = (shown - tiles.numpy())[mask.numpy()]
    assert psnr == pytest.approx(-10 * math.log10((error.astype(float) ** 2).mean()), abs=1e-4)
    maps = [
        structural_similarity(
            *(a.astype(float), b.astype(float)),
            data_range=1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )[1]
        for a, b in zip(shown[:, 0], tiles[:, 0].numpy(), strict=True)
    ]
    assert ssim == pytest.approx(np.stack(maps)[mask[:, 0].numpy()].mean(), abs=1e-4)


@pytest.mark.parametrize(
    ("limits", "good"),
    [
        ({"min_psnr_db": -50.0, "min_ssim": -1.0}, True),
        ({"min_psnr_db": 90.0, "min_ssim": -1.0}, False),
        ({"min_psnr_db": -50.0, "min_ssim": 0.99}, False),
    ],
)
def test_examination_measures_scale_and_quality(tiny_cohort, capsys, limits, good):
    train, val = (tiny_cohort.select(split, "T2w") for split in ("train", "val"))
    detector = build(**limits).train()
    record = detector.calibrate(*(brain_tiles(scans, TILING) for scans in (train, val)))
    tiles = torch.cat([tiles for tiles, _ in brain_tiles(train, TILING)])
    with torch.no_grad():
        mean, std = detector.autoencoder.network.encode(2 * tiles - 1)
    deviation = math.sqrt((mean.var(correction=0) + (std**2).mean()).item())
    scores = [
        reconstruction_quality(detector.autoencoder, *one) for one in brain_tiles(val, TILING)
    ]
    assert record["scale"] == pytest.approx(1 / deviation, rel=1e-4)
    assert detector.autoencoder.scale.item() == pytest.approx(record["scale"])
    assert record["psnr_db"] == pytest.approx(np.mean([psnr for psnr, _ in scores]), rel=1e-5)
    assert record["ssim"] == pytest.approx(np.mean([ssim for _, ssim in scores]), rel=1e-5)
    assert record["subjects"] == len(val) == 2
    assert picked(StageQuality, record).is_poor != good
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"autoencoder: PSNR {record['psnr_db']:.1f} dB, SSIM ")
    assert [line.startswith("warning: the autoencoder is too poor") for line in lines[1:]] == (
        [] if good else [True]
    )


@pytest.mark.parametrize(("split", "words"), [("train", "latent scale"), ("val", "held-out")])
def test_scans_that_went_away_are_said_in_one_line(tiny_cohort, split, words):
    for scan in tiny_cohort.select(split, "T2w"):
        scan.image.unlink()
    train, val = (tiny_cohort.select(name, "T2w") for name in ("train", "val"))
    with pytest.raises(InputError, match=words):
        build().calibrate(*(brain_tiles(scans, TILING) for scans in (train, val)))


def test_the_noise_does_not_depend_on_the_memory_layout():
    losses = []
    for layout in (torch.contiguous_format, torch.channels_last):
        detector = build().train().to(memory_format=layout)
        torch.manual_seed(7)
        losses.append(detector.loss(batch_of())["loss"].item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)

"""Checks of a latent space whose answers are known."""

import numpy as np
import pytest
import torch
from tiny import brain
from torch import nn

from brainuad.methods.parts.latent_checks import LEVELS, STEPS
from brainuad.methods.parts.residuals import signed
from brainuad.methods.vae import VAE
from brainuad.model.model import Model
from brainuad.networks.context_vae import ContextVAE
from brainuad.reporting.pages.latent import latent
from brainuad.reporting.pages.render import render
from brainuad.reporting.run_folder import read_run
from brainuad.tiles.cache import brain_tiles
from brainuad.training.fit import calibrate
from brainuad.volumes.nifti import read_volume
from brainuad.volumes.tiling import SliceTiling

TILING = SliceTiling("axial", (32, 32))


class Known(nn.Module):
    """Reconstructs half the image; of four dimensions two are used, by 0.5 and 2 nats."""

    variational = True

    def encode(self, image):
        mu = torch.tensor([1.0, 2.0, 0.0, 0.1]).expand(len(image), 4) * 1.0
        return mu + image.mean() * 0, torch.zeros(len(image), 4)

    def decode(self, z):
        ramp = torch.linspace(0, 1, 32).expand(len(z), 1, 32, 32)
        return ramp * z[:, :1, None, None]

    def forward(self, image):
        return 0.5 * image


@pytest.fixture
def checked(tiny_cohort, tmp_path):
    detector = VAE(ContextVAE((32, 32), 1, (4,), 2), signed)
    detector.network = Known()
    out = tmp_path / "run"
    out.mkdir()
    (out / "config.yaml").write_text("name: x\n")
    train, val = (tiny_cohort.select(split, "T2w") for split in ("train", "val"))
    calibrate(Model(detector, None, TILING), {"train": train, "val": val}, out)
    return train, val, out


def test_errors_of_three_predictors(checked):
    train, val, out = checked
    record = read_run(out).checks
    assert record["subjects"] == 2
    assert record["error/clean/identity"] == 0
    halves, means = [], []
    for scan in val:
        image, mask = read_volume(scan.image).array, read_volume(scan.brain_mask).array > 0
        kept = [z for z in range(mask.shape[2]) if mask[..., z].sum() / 32**2 >= 0.05]
        inside = mask[..., kept]
        halves.append(0.5 * image[..., kept][inside].mean())
        mean = np.mean([read_volume(s.image).array[..., kept] for s in train], axis=0)
        # Fewer slices than levels: each has a level of its own.
        assert len(kept) < LEVELS
        means.append(np.abs(mean - image[..., kept])[inside].mean())
    assert record["error/clean/reconstruction"] == pytest.approx(np.mean(halves), rel=1e-4)
    assert record["error/clean/mean_image"] == pytest.approx(np.mean(means), rel=1e-4)
    assert record["error/painted/mean_image"] == record["error/clean/mean_image"]
    assert record["error/painted/identity"] > 0


def test_dimensions_in_use_and_their_kl(checked):
    record = read_run(checked[2]).checks
    assert record["latent_dim"] == 4
    assert record["in_use"] == 2  # the third is the prior, the last has 0.005 nat
    assert record["kl_nats"] == pytest.approx(0.5 + 2 + 0.005)
    arrays = read_run(checked[2]).check_arrays
    assert arrays["kl"] == pytest.approx([2, 0.5, 0.005, 0])
    assert arrays["path"].shape == (STEPS, 32, 32)
    assert arrays["ends"].shape == (2, 32, 32)


def test_interpolation_goes_from_one_to_the_other_in_even_steps(tiny_cohort):
    torch.manual_seed(0)
    detector = VAE(ContextVAE((32, 32), 1, (4, 8), 6), signed).eval()
    scans = (tiny_cohort.select(split, "T2w") for split in ("train", "val"))
    record = detector.calibrate(*(brain_tiles(part, TILING) for part in scans))
    with torch.no_grad():
        decoded = detector.network(torch.from_numpy(record["ends"])[:, None])[:, 0].numpy()
    assert record["path"][0] == pytest.approx(decoded[0], abs=1e-5)
    assert record["path"][-1] == pytest.approx(decoded[1], abs=1e-5)
    assert 1 <= record["largest_step"] < 2
    assert brain(0)[0].shape[:2] <= (32, 32)


def test_section_says_what_was_found(checked):
    text = render("latent.html", it=latent(read_run(checked[2])))
    assert "2 of 4 latent dimensions are in use" in text
    assert "no better than the mean training image" in text
    assert text.count("<svg") == 2


def test_no_section_without_the_check(tmp_path):
    (tmp_path / "config.yaml").write_text("name: x\n")
    assert latent(read_run(tmp_path)) is None

import math

import pytest
import torch
from torch import nn

from brainuad.methods.disyre import DISYRE
from brainuad.methods.parts.residuals import signed
from brainuad.networks.patched import Patched
from brainuad.synthetic.lesions.contract import Painted
from brainuad.types import Batch

BATCH = Batch(torch.full((2, 1, 4, 4), 0.25), torch.ones(2, 1, 4, 4, dtype=torch.bool))


def shift(image, brain_mask, generator=None):
    """The first image 0.3 brighter, the second one left as it is."""
    share = torch.zeros_like(image)
    share[0] = 1
    return Painted(image + 0.3 * share, share)


class Scaled(nn.Module):
    """A restoration that is `factor` times the image; keeps what it was asked."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor
        self.seen = []

    def forward(self, image, timestep):
        self.seen.append((image, timestep))
        return self.factor * image


def test_severities_rise_from_little_to_nearly_one():
    """The code's 100 betas run from 0.001 to 0.2; the least severity is what all of them leave."""
    published = DISYRE(Scaled(1), shift, signed).severities
    assert (published.diff() > 0).all()
    left = math.prod(1 - 0.001 - 0.199 * t / 99 for t in range(100))
    assert published[0].item() == pytest.approx(left**0.5, rel=1e-3)
    assert published[-1].item() == pytest.approx(0.999**0.5, rel=1e-5)


def test_loss_restores_the_healthy_image_at_its_severity():
    detector = DISYRE(Scaled(1), shift, signed)
    # What is not restored is the 0.3 of the first image, half of all pixels.
    assert detector.loss(BATCH)["loss"].item() == pytest.approx(0.5 * 0.09, rel=1e-5)
    image, timestep = detector.network.seen[0]
    torch.testing.assert_close(image[0], BATCH.image[0] + 0.3)
    nearest = [(s - 0.3) ** 2 for s in detector.severities.tolist()]
    assert timestep.tolist() == [nearest.index(min(nearest)), 0]


def test_ensemble_asks_about_the_image_at_every_timestep():
    detector = DISYRE(Scaled(0.5), shift, signed)
    found = detector.detect(*BATCH)
    assert [t[0].item() for _, t in detector.network.seen] == [99, 79, 59, 39, 19]
    assert all(torch.equal(image, BATCH.image) for image, _ in detector.network.seen)
    torch.testing.assert_close(found.anomaly_map, torch.full((2, 1, 4, 4), 0.125))
    torch.testing.assert_close(found.reconstruction, torch.full((2, 1, 4, 4), 0.125))


def test_multi_steps_by_cold_diffusion():
    """The step as the paper writes it, through x_T, against the closed form."""
    detector = DISYRE(Scaled(0.5), shift, signed, sampling_steps=3, way="multi")
    found = detector.detect(*BATCH)
    x, total = BATCH.image.double(), 0.0
    for step, t in enumerate(detector.timesteps):
        torch.testing.assert_close(detector.network.seen[step][0].double(), x)
        x_0 = 0.5 * x
        total = total + (x - x_0).abs()
        if step + 1 < 3:
            a, b = detector.severities[[t, detector.timesteps[step + 1]]].double()
            x_end = (x - (1 - a) * x_0) / a
            x = x - ((1 - a) * x_0 + a * x_end) + ((1 - b) * x_0 + b * x_end)
    torch.testing.assert_close(found.anomaly_map.double(), total / 3)
    torch.testing.assert_close(found.reconstruction.double(), x_0)


def test_a_perfect_restoration_scores_nothing():
    for way in ("ensemble", "multi"):
        assert not DISYRE(Scaled(1), shift, signed, way=way).anomaly_map(*BATCH).any()


@pytest.mark.parametrize("wrong", [{"way": "naive"}, {"sampling_steps": 0}])
def test_what_is_not_possible_is_refused(wrong):
    with pytest.raises(ValueError, match="use"):
        DISYRE(Scaled(1), shift, signed, **wrong)


def test_patches_become_channels_and_pixels_again():
    class Same(nn.Module):
        def forward(self, image):
            assert image.shape == (2, 4, 3, 5)
            return image

    image = torch.rand(2, 1, 6, 10)
    assert torch.equal(Patched(Same(), 2)(image), image)

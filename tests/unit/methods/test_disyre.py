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


RELEASED = {99: 0.0045, 79: 0.033, 59: 0.152, 39: 0.438, 19: 0.816}
"""What each timestep that the ensemble asks was trained for, computed with the released code."""
RISING = {99: 0.9995, 79: 0.799, 59: 0.419, 39: 0.142, 19: 0.030}
"""The same where severities rise with t."""


@pytest.mark.parametrize(("severities", "table"), [("released", RELEASED), ("rising", RISING)])
def test_the_ensemble_asks_for_what_was_trained(severities, table):
    detector = DISYRE(Scaled(0.5), shift, signed, severities=severities)
    detector.detect(*BATCH)
    asked = [timestep[0].item() for _, timestep in detector.network.seen]
    trained = detector.trained_severities[asked]
    torch.testing.assert_close(trained, torch.tensor([table[t] for t in asked]), atol=6e-4, rtol=0)


@pytest.mark.parametrize(("severities", "table"), [("released", RELEASED), ("rising", RISING)])
def test_training_finds_the_timestep_of_a_severity(severities, table):
    detector = DISYRE(Scaled(1), shift, signed, severities=severities)
    # Between timesteps 99 and 98 of the released order severities differ by 5e-4.
    close = {t: a for t, a in table.items() if not (severities == "released" and t == 99)}
    assert detector.timestep(torch.tensor(list(close.values()))).tolist() == list(close)


def test_old_models_keep_rising_severities_and_whole_images():
    detector = DISYRE(Scaled(1), shift, signed)
    assert detector.timestep(torch.tensor([0.0, 1.0])).tolist() == [0, 99]
    assert detector.window is None


def test_loss_restores_the_healthy_image_at_its_largest_change():
    detector = DISYRE(Scaled(1), shift, signed, severities="released")
    # What is not restored is the 0.3 of the first image, half of all pixels.
    assert detector.loss(BATCH)["loss"].item() == pytest.approx(0.5 * 0.09, rel=1e-5)
    image, timestep = detector.network.seen[0]
    torch.testing.assert_close(image[0], BATCH.image[0] + 0.3)
    # The square roots of the products of 1 - beta, beta from 0.001 to 0.2, falling.
    left = [math.prod(1 - 0.001 - 0.199 * i / 99 for i in range(t + 1)) ** 0.5 for t in range(100)]
    nearest = [abs(a - 0.3) for a in left]
    assert timestep.tolist() == [nearest.index(min(nearest)), 99]


def test_loss_takes_the_severity_that_a_corruption_knows():
    def known(image, brain_mask, generator=None):
        return Painted(image, torch.ones_like(image), torch.tensor([0.152, 0.816]))

    detector = DISYRE(Scaled(1), known, signed, severities="released")
    detector.loss(BATCH)
    assert detector.network.seen[0][1].tolist() == [59, 19]


def test_crops_train_and_windows_score():
    detector = DISYRE(Scaled(0.5), shift, signed, window=8, stride=4)
    batch = Batch(torch.rand(2, 1, 12, 16), torch.ones(2, 1, 12, 16, dtype=torch.bool))
    detector.loss(batch)
    found = detector.detect(*batch)
    shapes = {tuple(image.shape) for image, _ in detector.network.seen}
    assert shapes == {(2, 1, 8, 8)}
    # Windows that are all brain agree on half the image.
    torch.testing.assert_close(found.anomaly_map, 0.5 * batch.image)
    torch.testing.assert_close(found.reconstruction, 0.5 * batch.image)


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


@pytest.mark.parametrize(
    "wrong", [{"way": "naive"}, {"sampling_steps": 0}, {"severities": "falling"}]
)
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

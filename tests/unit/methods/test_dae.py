"""The denoising autoencoder with networks whose answers are known."""

import pytest
import torch
from torch import nn

from brainuad.methods.dae import DAE
from brainuad.methods.parts.healthy_atlas import MOST_STD, HealthyAtlas
from brainuad.methods.parts.residuals import signed
from brainuad.synthetic.noise.coarse import coarse_noise
from brainuad.types import Batch


class Known(nn.Module):
    """Says what `answer(image)` says, and remembers what it was asked."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer
        self.asked = []

    def forward(self, image):
        self.asked.append(image)
        return self.answer(image)


@pytest.fixture
def batch():
    image = torch.rand(3, 2, 16, 24, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(3, 1, 16, 24, dtype=torch.bool)
    mask[:, :, 4:12, 5:20] = True
    return Batch(image * mask, mask)


def test_the_network_sees_the_noise_that_is_documented(batch):
    network = Known(lambda x: x)
    detector = DAE(network, signed, cells=5, sigma=0.3).train()
    torch.manual_seed(7)
    detector.loss(batch)
    torch.manual_seed(7)
    noise = coarse_noise(*batch, cells=5, sigma=0.3)
    assert torch.equal(network.asked[0], batch.image + noise)


def test_training_loss_by_hand(batch):
    detector = DAE(Known(lambda x: torch.full_like(x, 0.4)), signed).train()
    errors = [
        (0.4 - value) ** 2
        for value in batch.image[batch.brain_mask.expand_as(batch.image)].tolist()
    ]
    # Of the brain, by the number of all pixels.
    expected = sum(errors) / batch.image.numel()
    assert detector.loss(batch)["loss"].item() == pytest.approx(expected, rel=1e-5)


def test_what_leaves_the_image_as_it_came_loses_the_noise(batch):
    found = DAE(Known(lambda x: x), signed, sigma=0.3).train()
    torch.manual_seed(2)
    loss = found.loss(batch)["loss"].item()
    torch.manual_seed(2)
    noise = coarse_noise(*batch, cells=16, sigma=0.3)
    assert loss == pytest.approx(noise.square().mean().item(), rel=1e-5)
    assert loss > 0


def test_validation_draws_the_same_noise_in_every_epoch_and_another_in_every_batch(batch):
    network = Known(lambda x: x)
    detector = DAE(network, signed).eval()
    for number in (0, 1, 0):
        detector.validation_seed = number
        detector.loss(batch)
    first, second, again = network.asked
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_each_batch_has_one_of_several_grids(batch):
    """The network is asked about the noise of one grid, of each of them at times."""
    network = Known(lambda x: x)
    detector = DAE(network, signed, cells=2, other_cells=[[3, 4], 6]).train()
    torch.manual_seed(3)
    for _ in range(20):
        detector.loss(batch)
    torch.manual_seed(3)
    seen = set()
    for asked in network.asked:
        number = int(torch.randint(3, ()))
        noise = coarse_noise(*batch, cells=[2, [3, 4], 6][number])
        assert torch.equal(asked, batch.image + noise)
        seen.add(number)
    assert seen == {0, 1, 2}


def test_nothing_is_noised_at_detection(batch):
    network = Known(lambda x: x - 0.1)
    found = DAE(network, signed).detect(*batch)
    assert torch.equal(network.asked[0], batch.image)
    inside = found.anomaly_map[batch.brain_mask]
    assert inside.tolist() == pytest.approx([0.1] * len(inside), abs=1e-6)


def test_beside_an_atlas_the_network_adds_to_the_image_what_is_missing():
    """Of 0.3 and 0.5 the mean is 0.4 and the deviation sqrt(0.02)."""
    brain = torch.ones(2, 1, 4, 4, 4, dtype=torch.bool)
    healthy = torch.full(brain.shape, 0.3)
    healthy[1] = 0.5
    # What is asked for is the way back to the mean: minus the distance, in intensities.
    network = Known(lambda seen: -seen[:, 1:] * MOST_STD * 0.02**0.5)
    detector = DAE(network, signed, sigma=0.1, atlas=HealthyAtlas(sigma=0, min_count=2))
    assert detector.traits.places == "required"
    assert DAE(network, signed).traits.places == "ignored"
    detector.measure([Batch(healthy, brain)])
    image = torch.full(brain.shape, 0.6)[:1]
    found = detector.detect(image, brain[:1])
    assert network.asked[-1].shape == (1, 2, 4, 4, 4)
    torch.testing.assert_close(found.reconstruction, torch.full(image.shape, 0.4))
    torch.testing.assert_close(found.anomaly_map, torch.full(image.shape, 0.2))
    # In training the noise is in both, and what it is compared with is the image without it.
    assert detector.loss(Batch(healthy, brain))["loss"].item() == pytest.approx(0.01, abs=1e-6)

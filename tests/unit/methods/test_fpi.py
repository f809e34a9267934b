import math

import pytest
import torch
from torch import nn

from brainuad.methods.fpi import FPI
from brainuad.methods.parts.healthy_atlas import MOST_STD, HealthyAtlas
from brainuad.synthetic.lesions.contract import Painted
from brainuad.synthetic.lesions.fillings import ForeignPatch
from brainuad.synthetic.lesions.shapes import CentralBoxes
from brainuad.types import Batch

BATCH = Batch(torch.full((2, 1, 4, 4), 0.5), torch.ones(2, 1, 4, 4, dtype=torch.bool))


def half(image, brain_mask, generator=None):
    """Half a share of white, in the left half of the brain."""
    share = torch.zeros_like(image)
    share[..., :2] = 0.5
    return Painted(image + share * (1 - image), share * brain_mask)


class Zero(nn.Module):
    """Logits of zero: a predicted share of a half."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, image):
        self.seen.append(image)
        return 0 * image


def test_loss_by_hand():
    """Cross-entropy of 0.5 against any soft label is log 2, and the network sees the painted."""
    detector = FPI(Zero(), half)
    assert detector.loss(BATCH)["loss"].item() == pytest.approx(math.log(2))
    assert detector.network.seen[0][..., :2].eq(0.75).all()
    assert detector.network.seen[0][..., 2:].eq(0.5).all()


def test_loss_is_of_the_brain_alone():
    def certain(image):
        return torch.full_like(image, -100.0)

    network = nn.Module()
    network.forward = certain
    brain = BATCH.brain_mask.clone()
    brain[..., :2] = False
    detector = FPI(network, half)
    # Certain of nothing: right where nothing was painted, which is all that is brain.
    assert detector.loss(Batch(BATCH.image, brain))["loss"].item() == pytest.approx(0, abs=1e-6)
    assert detector.loss(BATCH)["loss"].item() > 10


def test_soft_dice_by_hand():
    """Found 0.5 in 32 pixels, painted 0.5 in 16 of them: (2 * 4 + 1) / (16 + 8 + 1)."""
    terms = FPI(Zero(), half, dice=0.5).loss(BATCH)
    assert terms["soft_dice"].item() == pytest.approx(9 / 25)
    assert terms["loss"].item() == pytest.approx(math.log(2) + 0.5 * (1 - 9 / 25))


def test_the_network_sees_the_mirror_image_behind_the_image():
    image = torch.arange(16.0).reshape(1, 1, 4, 4) / 16
    network = Zero()
    network.forward = lambda seen: network.seen.append(seen) or seen[:, :1]
    detector = FPI(network, half, mirror=True)
    assert detector.traits.left_right
    detector.score(image, torch.ones(1, 1, 4, 4, dtype=torch.bool))
    (seen,) = network.seen
    assert torch.equal(seen[:, :1], image)
    # The first axis goes from left to right.
    assert torch.equal(seen[:, 1:], image[:, :, [3, 2, 1, 0]])
    with pytest.raises(ValueError, match="choose one"):
        FPI(network, half, mirror=True, atlas=HealthyAtlas())


def test_the_network_sees_painted_images_through_the_scanner():
    detector = FPI(Zero(), half, scanner=lambda image, brain, generator: image / 2)
    detector.loss(BATCH)
    assert detector.network.seen[0][..., :2].eq(0.375).all()


def test_released_loss_is_of_the_whole_image():
    """Of logits -1 and a share s, log(1 + 1/e) + s a pixel; half of them have the share 0.5."""
    network = nn.Module()
    network.forward = lambda image: torch.full_like(image, -1.0)

    def everywhere(image, brain_mask, generator=None):
        share = torch.zeros_like(image)
        share[..., :2] = 0.5
        return Painted(image, share)

    brain = torch.zeros_like(BATCH.brain_mask)
    found = FPI(network, everywhere, whole_image=True).loss(Batch(BATCH.image, brain))
    assert found["loss"].item() == pytest.approx(math.log1p(math.exp(-1)) + 0.25)


def _pair():
    """Two slices of one scan, and behind them the two of another at the same heights."""
    one, other = torch.full((2, 1, 64, 64), 0.2), torch.full((2, 1, 64, 64), 0.6)
    brain = torch.ones(4, 1, 64, 64, dtype=torch.bool)
    return [Batch(torch.cat(images), brain) for images in ((one, other), (other, one))]


def test_two_scans_are_each_others_donor_with_one_mask():
    """`fpiSubmit.py:147-154` and `self_sup_task.py:59-63`."""
    torch.manual_seed(0)
    detector = FPI(Zero(), ForeignPatch(CentralBoxes()), donors_by_height=True).train()
    assert detector.traits.pairs
    assert not FPI(Zero(), half).traits.pairs
    for step, batch in enumerate([*_pair(), *_pair()]):
        detector.step = step
        detector.loss(batch)
    first, second, later, _ = detector.network.seen
    assert first.shape == (2, 1, 64, 64)
    share = (first - 0.2) / 0.4
    torch.testing.assert_close(second, 0.6 - 0.4 * share)
    assert 0.05 <= share[share > 1e-4].min() <= share.max() <= 0.95
    # Another pair has another mask.
    assert not torch.equal(first, later)


def test_validation_of_pairs_paints_the_same_in_every_epoch():
    detector = FPI(Zero(), ForeignPatch(CentralBoxes()), donors_by_height=True).eval()
    batch = _pair()[0]
    for number, step in ((0, 3), (0, 40), (2, 40)):
        detector.validation_seed, detector.step = number, step
        detector.loss(batch)
    first, again, other = detector.network.seen
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_score_is_the_predicted_share():
    found = FPI(Zero(), half).detect(*BATCH)
    assert found.anomaly_map.eq(0.5).all()
    assert found.reconstruction is None


def test_with_an_atlas_the_network_sees_the_distance_from_it():
    """Of 0.3 and 0.5 the mean is 0.4 and the deviation sqrt(0.02); 0.6 is sqrt(2) of them away."""
    brain = torch.ones(2, 1, 4, 4, 4, dtype=torch.bool)
    brain[..., 3] = False
    healthy = torch.full(brain.shape, 0.3)
    healthy[1] = 0.5
    detector = FPI(Zero(), half, atlas=HealthyAtlas(sigma=0, min_count=2))
    assert detector.traits.places == "required"
    assert FPI(Zero(), half).traits.places == "ignored"
    detector.measure([Batch(healthy * brain, brain)])
    detector.detect(torch.full(brain.shape, 0.6)[:1], brain[:1])
    (seen,) = detector.network.seen
    assert seen.shape == (1, 2, 4, 4, 4)
    assert seen[:, 0].eq(0.6).all()
    torch.testing.assert_close(seen[0, 1, ..., :3], torch.full((4, 4, 3), 2**0.5 / MOST_STD))
    assert not seen[0, 1, ..., 3].any()
    detector.detect(torch.full(brain.shape, 5.0)[:1], brain[:1])
    assert detector.network.seen[-1][:, 1].max() == 1


def test_validation_paints_the_same_in_every_epoch():
    def noise(image, brain_mask, generator=None):
        share = torch.rand(image.shape, generator=generator)
        return Painted(share, share)

    detector = FPI(Zero(), noise).eval()
    for seed in (0, 0, 1):
        detector.validation_seed = seed
        detector.loss(BATCH)
    first, again, other = detector.network.seen
    assert torch.equal(first, again)
    assert not torch.equal(first, other)

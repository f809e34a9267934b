"""The network for synthetic lesions: what it sees, what it says, and its loss, by hand."""

import method_tester
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from torch import nn

from brainuad.errors import InputError
from brainuad.methods.universal import Universal
from brainuad.settings.build import build
from brainuad.settings.instantiate import resolve
from brainuad.settings.plain import plain
from brainuad.synthetic.anatomies.stream import StreamedScan
from brainuad.synthetic.phantom import tiny_subject
from brainuad.types import Batch
from brainuad.volumes.grids import Grid

SIZE = (16, 16, 16)


class Known(nn.Module):
    """Says the same everywhere, and keeps what it saw."""

    def __init__(self, logit=0.0, healthy=0.0):
        super().__init__()
        self.values = nn.Parameter(torch.tensor([logit, healthy]))
        self.seen = None

    def forward(self, given):
        self.seen = given.detach()
        size = (len(given), 2, *given.shape[2:])
        return self.values[None, :, None, None, None].expand(size)


def affine(size=SIZE, spacing=8.0, shift=(0.0, -16.0, 8.0)):
    """A grid about the middle of the atlas."""
    found = np.diag([spacing, spacing, spacing, 1.0])
    found[:3, 3] = np.array(shift) - spacing * (np.array(size) - 1) / 2
    return found


def scan(value=0.4, lesion=None):
    """A constant brain of 10 x 10 x 10 voxels, and where a lesion is."""
    mask = torch.zeros(1, 1, *SIZE, dtype=torch.bool)
    mask[..., 3:13, 3:13, 3:13] = True
    image = mask * value
    if lesion is not None:
        image[lesion] = 2 * value
    return image, mask


def streamed(image, mask, healthy, lesion):
    weight = torch.ones_like(image)
    return StreamedScan(image, healthy, mask, lesion, weight, torch.where(mask, 0, -1))


def detector(**settings):
    found = Universal(Known(**settings.pop("says", {})), **settings)
    found.grid = Grid(SIZE, affine())
    found.affine = affine()
    return found.eval()


def test_it_sees_intensities_relative_to_white_matter_and_their_mirror_image():
    found = detector()
    image, mask = scan()
    image[0, 0, 4, 5, 6] = 0.5
    found.detect(image, mask)
    seen = found.network.seen
    # Cropped to the brain, symmetric about the middle: voxels 3 to 13 of 16, padded to 32.
    assert seen.shape == (1, 6, 32, 32, 32)
    assert seen[0, 0, 1, 2, 3] == pytest.approx(4 * (0.5 / 0.4 - 1))
    assert seen[0, 1, 8, 2, 3] == pytest.approx(4 * (0.5 / 0.4 - 1))
    assert seen[0, :2].abs().sum() == pytest.approx(2.0, rel=1e-5)
    assert seen[0, 2, :10, :10, :10].all()
    assert not seen[0, 2, 10:].any()
    priors = seen[0, 3:, :10, :10, :10]
    assert priors.max() > 0.5
    assert ((priors.sum(0) - 1).abs()[2:8, 2:8, 2:8] < 0.1).all()


def test_the_score_is_a_probability_and_the_healthy_scan_comes_back_in_its_own_intensities():
    found = detector(says={"logit": 1.0, "healthy": -0.5}).detect(*scan())
    _, mask = scan()
    torch.testing.assert_close(
        found.anomaly_map[mask], torch.full((1000,), 1 / (1 + np.exp(-1.0))).float()
    )
    assert not found.anomaly_map[~mask].any()
    torch.testing.assert_close(found.reconstruction[mask], torch.full((1000,), 0.4 * (1 - 0.5 / 4)))


@pytest.mark.parametrize(("sign", "expected"), [("positive", 0.125), ("negative", 0.0)])
def test_the_residual_is_of_the_side_of_lesions(sign, expected):
    found = detector(says={"healthy": -0.5}, scores_by="residual", sign=sign)
    assert found.traits.own_threshold is None
    assert found.detect(*scan()).anomaly_map.max() == pytest.approx(expected)


def test_the_loss_is_the_one_of_its_head():
    lesion = torch.zeros(1, 1, *SIZE, dtype=torch.bool)
    lesion[..., 4:6, 4:6, 4:6] = True
    image, mask = scan(lesion=lesion)
    healthy, _ = scan()
    found = detector(says={"logit": 1.0, "healthy": 0.5}, weight_first=3.0, weight_last=3.0)
    found.start_epoch(0)
    terms = found.loss(streamed(image, mask, healthy, lesion))
    p = 1 / (1 + np.exp(-1.0))
    entropy = -(3 * 8 * np.log(p) + 992 * np.log(1 - p)) / (3 * 8 + 992)
    dice = (2 * 8 * p + 1) / (1000 * p + 8 + 1)
    # The healthy scan is white matter's value everywhere, 0 for the network; it says 0.5.
    assert terms["entropy"].item() == pytest.approx(entropy, rel=1e-5)
    assert terms["soft_dice"].item() == pytest.approx(dice, rel=1e-5)
    assert terms["restored"].item() == pytest.approx(0.5, rel=1e-5)
    assert terms["loss"].item() == pytest.approx(3 * entropy + 1 - dice + 0.5, rel=1e-5)
    assert terms["dice"].item() == pytest.approx((2 * 8 + 1) / (1000 + 8 + 1), rel=1e-5)


def test_the_weight_of_lesions_falls_to_the_last_epoch():
    found = detector(weight_first=9.0, weight_last=1.0, epochs=3)
    weights = []
    for epoch in (0, 1, 2):
        found.start_epoch(epoch)
        weights.append(found._weight)
    assert weights == pytest.approx([9, 3, 1])


def test_a_scan_beside_the_atlas_is_scored_without_places_and_it_is_said(capsys):
    found = detector()
    found.affine = affine(shift=(300.0, 0, 0))
    found.detect(*scan())
    assert not found.network.seen[0, 3:].any()
    assert "does not lie on the MNI152 atlas" in capsys.readouterr().out
    found.affine = None
    found.detect(*scan())
    assert not found.network.seen[0, 3:].any()


@pytest.mark.parametrize("thick", [1, 9, 17])
def test_thin_slabs_of_a_brain_are_scored_by_the_configured_network(thick):
    with initialize_config_module("brainuad.configs", version_base="1.3"):
        cfg = compose("train", ["experiment=universal"])
    found = Universal(build(plain(resolve(cfg.model.network)), kind=nn.Module)).eval()
    image, mask = torch.rand(1, 1, 40, 40, 40), torch.zeros(1, 1, 40, 40, 40, dtype=torch.bool)
    mask[..., 4:36, 4:36, 10 : 10 + thick] = True
    assert found.detect(image * mask, mask).anomaly_map.shape == image.shape


def test_healthy_tiles_and_slices_are_refused():
    found = detector()
    image, mask = scan()
    with pytest.raises(InputError, match="set datamodule=synthetic"):
        found.loss(Batch(image, mask))
    with pytest.raises(InputError, match="set tiling=volume"):
        found.measure([Batch(image[..., 0], mask[..., 0])])
    with pytest.raises(InputError, match="set tiling=volume"):
        found.detect(image[..., 0], mask[..., 0])
    for settings in ({"scores_by": "x"}, {"sign": "x"}):
        with pytest.raises(ValueError, match="is x; use"):
            Universal(Known(), **settings)


def test_training_on_another_grid_than_the_atlas_scans_is_refused():
    found = detector()
    found.grid = Grid((4, 4, 4), affine())
    image, mask = scan()
    with pytest.raises(InputError, match="data=anatomies"):
        found.loss(streamed(image, mask, image, torch.zeros_like(mask)))


def test_the_phantom_of_the_contract_is_on_the_atlas():
    subject = tiny_subject("contract0")
    batch = method_tester.with_lesion(
        Batch(
            torch.from_numpy(subject.images["FLAIR"])[None, None],
            torch.from_numpy(subject.brain_mask)[None, None],
        )
    )
    found = detector()
    found.affine = subject.affine
    found.detect(batch.image, batch.brain_mask)
    assert found.network.seen[0, 3:].any()

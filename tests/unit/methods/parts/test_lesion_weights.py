"""Weights of synthetic lesions: when they count, for which lesions, and in which losses."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from brainuad.methods.disyre import DISYRE
from brainuad.methods.fpi import FPI
from brainuad.methods.parts.lesion_weights import LesionWeights, sample_weights
from brainuad.methods.parts.residuals import signed
from brainuad.synthetic.lesions.contract import Painted
from brainuad.synthetic.lesions.fillings import IntensityShift
from brainuad.synthetic.lesions.mixture import OneOf, kinds_of
from brainuad.synthetic.lesions.shapes import Ellipsoids
from brainuad.types import Batch

FEW = {"healthy": 100, "lesions": 40, "stand_ins": 20, "subsets": 4, "contamination": 0.17}


def batch(seed=0, count=8):
    """Brighter and darker regions with noise, in a brain of all pixels."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 1, 6, 6, generator=generator)
    image = 0.3 + 0.4 * functional.interpolate(coarse, (24, 24), mode="bilinear")
    image = image + 0.05 * torch.rand(image.shape, generator=generator)
    return Batch(image, torch.ones(count, 1, 24, 24, dtype=torch.bool))


def unchanged(image, brain_mask, generator=None):
    """A lesion that looks healthy."""
    share = torch.zeros_like(image)
    share[..., 8:16, 8:16] = 1
    return Painted(image, share)


def bright(image, brain_mask, generator=None):
    """A brighter lesion, and none in the last sample."""
    share = torch.zeros_like(image)
    share[:-1, :, 8:16, 8:16] = 1
    return Painted(torch.where(share > 0, image + 0.15, image), share)


BOTH = OneOf([bright, unchanged], probability=0.9)


def trained(weights, corruption=BOTH):
    torch.manual_seed(0)
    weights.train()
    step = 0
    while not weights.is_fitted:
        given = batch(step := step + 1)
        assert weights(corruption(*given), *given).eq(1).all()
        assert step < 40
    return weights


@pytest.fixture(scope="module")
def weights():
    return trained(LesionWeights(bright, **FEW))


def test_lesions_that_look_healthy_weigh_less(weights):
    given = batch(99)
    useful, useless = (weights(paint(*given), *given).flatten() for paint in (bright, unchanged))
    assert useful[:-1].min() > 2 * useless.max()
    assert useless.min() >= 0.2
    # Without a lesion, and in validation, all samples count alike.
    assert useful[-1] == 1
    assert weights.eval()(unchanged(*given), *given).eq(1).all()
    weights.train()


def test_weights_by_hand():
    weights = LesionWeights(bright, power=2, floor=0.5, drop=0.1)
    weights.mean.fill_(0.05)
    weights.cut.fill_(0.05)
    found = weights.weight(torch.tensor([0.5, 0.2, 0.1, 0.04]))
    torch.testing.assert_close(found, torch.tensor([5.0, 0.8, 0.5, 0.0]))


def test_the_least_useful_lesions_are_dropped():
    weights = trained(LesionWeights(bright, drop=0.5, **FEW))
    found = weights.weight(weights.facts[:, 3])
    assert (found == 0).sum() == 20


def test_shuffled_weights_are_the_same_ones(weights):
    given, other = batch(99), LesionWeights(bright, shuffled=True, **FEW)
    other.load_state_dict(weights.state_dict())
    torch.manual_seed(1)
    plain = weights(bright(*given), *given).flatten()
    torch.manual_seed(1)
    other = other(bright(*given), *given).flatten()
    assert not torch.equal(plain, other)
    torch.testing.assert_close(plain.sort().values, other.sort().values)


def test_the_useless_kind_is_reported(weights, capsys):
    found = weights.checks(kinds_of(BOTH))
    assert found["eap/1, bright"] > 2 * found["eap/2, unchanged"]
    assert "useless: 0.17" in capsys.readouterr().out
    assert LesionWeights(bright, **FEW).checks(["lesion"]) == {}
    assert "too short" in capsys.readouterr().out


def test_kinds_are_named_by_filling_and_shape():
    assert kinds_of(IntensityShift(Ellipsoids((0.1, 0.2)))) == ["IntensityShift in Ellipsoids"]
    _, brain = given = batch()
    kinds = OneOf([bright, unchanged], probability=0.5)(*given, torch.Generator()).kind
    assert kinds.shape == (len(brain),)
    assert set(kinds.tolist()) <= {-1, 0, 1}


def test_a_resumed_training_has_the_same_weights(weights):
    again = LesionWeights(bright, **FEW)
    again.load_state_dict(weights.state_dict())
    phi = torch.rand(5, weights.healthy.shape[1])
    assert torch.equal(again.value(phi), weights.value(phi))
    assert again.is_fitted


class Fixed(nn.Module):
    """Weights that are given."""

    def __init__(self, *values):
        super().__init__()
        self.values = torch.tensor(values)

    def forward(self, painted, image, brain_mask):
        return self.values.reshape(-1, 1, 1, 1)


def test_samples_count_by_their_weight_in_each_loss():
    """Each sample's own loss, weighted, and divided by the number of all."""
    image, brain = batch(count=2)

    def shift(image, brain_mask, generator=None):
        share = torch.tensor([0.2, 0.4]).reshape(2, 1, 1, 1).expand_as(image)
        return Painted(image + share, share)

    class Same(nn.Module):
        def forward(self, image, timestep=None):
            return image

    def loss(weights, of=slice(None)):
        restored = DISYRE(Same(), shift, signed, lesion_weights=weights).loss(Batch(image, brain))
        found = FPI(Same(), shift, lesion_weights=weights).loss(Batch(image, brain))
        return [restored["loss"].item(), found["loss"].item()]

    plain, first, second = loss(None), loss(Fixed(1.0, 0.0)), loss(Fixed(0.0, 1.0))
    assert plain == pytest.approx([a + b for a, b in zip(first, second, strict=True)])
    assert first[0] == pytest.approx(0.04 / 2, rel=1e-4)
    assert second[0] == pytest.approx(0.16 / 2, rel=1e-4)
    assert loss(Fixed(1.0, 1.0)) == plain


def test_without_weights_all_samples_are_equal():
    assert sample_weights(None, unchanged(*batch()), *batch()).eq(1).all()


@pytest.mark.parametrize("wrong", [{"contamination": 0}, {"drop": 1}, {"lesions": 0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="use"):
        LesionWeights(bright, **wrong)

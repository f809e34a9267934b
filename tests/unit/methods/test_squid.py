"""SQUID's objective and score with a network of known answers."""

import pytest
import torch
from torch import nn

from brainuad.methods.parts.residuals import signed
from brainuad.methods.squid import SQUID
from brainuad.networks.squid import Rebuilt
from brainuad.types import Batch


class Known(nn.Module):
    """Student 0.25 everywhere, teacher 0.75, distance 3."""

    def __init__(self):
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))
        self.stored = []

    def forward(self, image):
        flat = torch.full_like(image, 1.0) * self.one
        return Rebuilt(0.25 * flat, 0.75 * flat, 3 * self.one, image.flatten(1)[:, None])

    def store(self, features):
        self.stored.append(features)


class Undecided(nn.Module):
    """Logit of 0 times its parameter."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, image):
        return [image.mean((1, 2, 3))[:, None] * self.weight]


def batch():
    return Batch(torch.full((2, 1, 4, 4), 0.5), torch.ones(2, 1, 4, 4, dtype=torch.bool))


def test_the_objective_by_hand():
    detector = SQUID(Known(), signed, student_weight=10, teacher_weight=2, distillation_weight=0.1)
    terms = detector.train().loss(batch())
    assert terms["student"].item() == terms["teacher"].item() == 0.0625
    assert terms["loss"].item() == pytest.approx(10 * 0.0625 + 2 * 0.0625 + 0.1 * 3)


def test_the_discriminator_adds_cross_entropies():
    options = {"generator_weight": 0.5, "discriminator_weight": 0.25}
    plain = SQUID(Known(), signed).train().loss(batch())["loss"]
    detector = SQUID(Known(), signed, discriminator=Undecided(), **options).train()
    terms = detector.loss(batch())
    log2 = 0.6931472
    assert terms["generator"].item() == pytest.approx(log2)
    assert terms["discriminator"].item() == pytest.approx(2 * log2)
    assert (terms["loss"] - plain).item() == pytest.approx(0.5 * log2 + 0.25 * 2 * log2)


def test_features_are_stored_once_a_step_of_the_training_alone():
    detector = SQUID(Known(), signed)
    detector.train().loss(batch())
    assert len(detector.network.stored) == 1
    detector.eval().loss(batch())
    detector.anomaly_map(*batch())
    assert len(detector.network.stored) == 1


@pytest.mark.parametrize(("against", "expected"), [("image", 0.25), ("teacher", 0.5)])
def test_the_student_is_compared_with_the_scan_or_the_teacher(against, expected):
    detector = SQUID(Known(), signed, against=against)
    assert torch.equal(detector.anomaly_map(*batch()), torch.full((2, 1, 4, 4), expected))


def test_an_unknown_comparison_is_refused():
    with pytest.raises(ValueError, match="against is 'student'"):
        SQUID(Known(), signed, against="student")

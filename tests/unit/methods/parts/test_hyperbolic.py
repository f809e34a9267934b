"""HypAD's score for draws, by hand and against the Poincare ball."""

import math

import numpy as np
import pytest
import torch

from brainuad.methods.parts.hyperbolic import certainty, hyperbolic
from brainuad.methods.parts.random_draws import score_draws
from brainuad.methods.parts.residuals import bind

BRAIN = torch.ones(1, 1, 1, 2, dtype=torch.bool)


def pixels(*values):
    return torch.tensor(values).reshape(1, 1, 1, 2)


def test_score_by_hand():
    """Equal errors of 0.2: one certain with s = 0.05, the other unsure with s = 0.1."""
    image, mean, std = pixels(0.7, 0.7), pixels(0.5, 0.5), pixels(0.05, 0.1)
    certain, unsure = hyperbolic(image, mean, BRAIN, std).flatten().tolist()
    assert certain == pytest.approx(0.15 / 0.25 * math.acosh(1 + 0.04 / (4 * 0.0025)), rel=1e-5)
    assert unsure == pytest.approx(0.1 / 0.3 * math.acosh(1 + 0.04 / (4 * 0.01)), rel=1e-5)
    assert certain > 2 * unsure
    # No error is no anomaly, however certain; nor is an error where nothing is certain.
    assert not hyperbolic(image, image, BRAIN, std).any()
    assert not hyperbolic(image, mean, BRAIN, pixels(0.2, 0.5)).any()
    assert not hyperbolic(image, mean, BRAIN, std, sign="negative").any()
    # Draws that agree to the last bit have the noise of a pixel.
    still = hyperbolic(image, mean, BRAIN, 0 * std, min_std=0.05)
    assert still.flatten()[0].item() == pytest.approx(certain, rel=1e-5)


def in_ball(mean, std, centre_mean, centre_std):
    """A normal distribution in the Poincare ball, whose centre is another one."""
    z = (mean - centre_mean) / math.sqrt(2) + 1j * std
    return (z - 1j * centre_std) / (z + 1j * centre_std)


def ball_distance(u, v):
    """HypAD's distance, train.py:229."""
    within = (1 - abs(u) ** 2) * (1 - abs(v) ** 2)
    return np.arccosh(1 + 2 * abs(u - v) ** 2 / within)


@pytest.mark.parametrize(
    ("x", "mean", "std"), [(0.7, 0.5, 0.05), (0.2, 0.6, 0.1), (0.4, 0.41, 0.02)]
)
def test_score_is_the_distance_times_the_norm_in_the_poincare_ball(x, mean, std):
    unsure = 0.2
    image, reconstruction = (in_ball(value, std, mean, unsure) for value in (x, mean))
    expected = abs(reconstruction) * ball_distance(image, reconstruction)
    found = hyperbolic(pixels(x, x), pixels(mean, mean), BRAIN, pixels(std, std), unsure_std=unsure)
    assert found.flatten()[0].item() == pytest.approx(expected, rel=1e-4)
    assert certainty(torch.tensor(std), unsure).item() == pytest.approx(abs(reconstruction))


def test_channels_are_averaged_with_their_own_signs():
    image, mean = torch.tensor([0.7, 0.3]).reshape(1, 2, 1, 1), torch.full((1, 2, 1, 1), 0.5)
    std, brain = torch.full((1, 2, 1, 1), 0.05), BRAIN[..., :1]
    one = hyperbolic(image[:, :1], mean[:, :1], brain, std[:, :1])
    torch.testing.assert_close(hyperbolic(image, mean, brain, std), one)
    torch.testing.assert_close(
        hyperbolic(image, mean, brain, std, ["positive", "positive"]), one / 2
    )


def test_it_scores_the_draws_of_a_method():
    draws = [pixels(0.4, 0.5), pixels(0.6, 0.5)]
    found = score_draws(hyperbolic, pixels(0.7, 0.7), BRAIN, draws)
    expected = hyperbolic(pixels(0.7, 0.7), pixels(0.5, 0.5), BRAIN, pixels(0.02**0.5, 0.0))
    torch.testing.assert_close(found.anomaly_map, expected)
    with pytest.raises(ValueError, match="several draws"):
        bind(hyperbolic, draws=False)

"""The expected anomaly posterior: by hand on a line, and against the loops of the released code."""

import numpy as np
import pytest
import torch
from scipy.stats import beta
from sklearn.linear_model import LogisticRegression

from brainuad.synthetic.lesions.posterior import (
    Subsets,
    distances,
    enough_neighbours,
    expected_posterior,
    fit_subsets,
    logistic_regression,
    rarity,
)


def test_posterior_on_a_line_by_hand():
    """Balls of radius 1 at 0 and 1, and of radius 2 at 3; q is a half everywhere."""
    healthy = torch.tensor([[0.0], [1.0], [3.0]])
    radii = torch.tensor([1.0, 1.0, 2.0])
    # 0 and 1 lie in their own balls alone or in both of radius 1; 3 in its own.
    torch.testing.assert_close(rarity(distances(healthy, healthy), radii), radii)
    subsets = Subsets(radii[None], torch.tensor([1 + 1 + 0.5]), torch.zeros(1, 2))
    found = expected_posterior(torch.tensor([[0.5], [4.0], [9.0]]), healthy, subsets, 0.1)
    # Densities 1 / 3.5 and 0.5 / 3; outside all balls the prior is left.
    near = (0.1 + 3 * 0.5 / 3.5) / (1 + 3 / 3.5)
    rare = (0.1 + 3 * 0.5 * 0.5 / 3) / (1 + 3 * 0.5 / 3)
    assert found.tolist() == pytest.approx([near, rare, 0.1])


def test_a_lesion_is_of_use_if_it_is_near_healthy_tissue_and_unlike_it():
    generator = torch.Generator().manual_seed(0)
    healthy = torch.randn(200, 2, generator=generator)
    known = torch.randn(20, 2, generator=generator) * 0.3 + torch.tensor([2.0, 0.0])
    subsets = fit_subsets(healthy, known, generator=generator)
    points = torch.tensor([[2.0, 0.0], [-0.5, 0.0], [60.0, 0.0]])
    useful, same, unreal = expected_posterior(points, healthy, subsets, 0.05).tolist()
    assert useful > 0.15
    assert same < 0.04
    assert unreal == pytest.approx(0.05)


def test_the_classifier_is_that_of_scikit_learn():
    generator = torch.Generator().manual_seed(1)
    points = torch.randn(120, 3, generator=generator)
    labels = points[:, 0] + 0.5 * torch.randn(120, generator=generator) > 0.8
    found = logistic_regression(points, labels)
    known = LogisticRegression(tol=1e-8).fit(points.numpy(), labels.numpy())
    assert found[:-1].tolist() == pytest.approx(known.coef_[0].tolist(), abs=2e-3)
    assert found[-1].item() == pytest.approx(known.intercept_[0], abs=2e-3)


def released_phi(points, healthy, anomalies, k_least, contamination, keeps):
    """The loops of EAP.py and rr_score.py, a point at a time, for given subsets."""
    total = np.zeros(len(points))
    for keep in keeps:
        own = healthy[keep[: len(healthy)]]
        known = anomalies[keep[len(healthy) :]]
        model = LogisticRegression(tol=1e-8)
        model.fit(np.concatenate([own, known]), np.arange(len(own) + len(known)) >= len(own))
        between = np.linalg.norm(own[:, None] - own[None], axis=2)
        ordered = np.sort(between, axis=1)

        def rare(point, k, own=own, ordered=ordered):
            radii = ordered[:, k]
            inside = np.linalg.norm(own - point, axis=1) < radii
            return radii[inside].min() if inside.any() else 0.0

        values, most = [], len(own) - 1
        for anomaly in anomalies:
            k = k_least
            while k < most and not rare(anomaly, k):
                k += 1
            values.append(k)
        share = (np.array(values) - k_least) / (most - k_least)
        upper = beta.ppf(0.95, 1 + share.sum(), 1 + len(share) - share.sum())
        k = int(upper * (most - k_least) + k_least)
        everywhere = sum(1 / rare(point, k) for point in own)
        for i, point in enumerate(points):
            r = rare(point, k)
            density = (1 / r) / (1 / r + everywhere) if r else 0.0
            q = model.predict_proba(point[None])[0, 1]
            total[i] += (contamination + len(own) * q * density) / (1 + len(own) * density)
    return total / len(keeps)


def test_posterior_is_that_of_the_released_loops():
    generator = torch.Generator().manual_seed(2)
    healthy = torch.randn(40, 2, generator=generator)
    anomalies = torch.randn(6, 2, generator=generator) + 1.5
    points = 3 * torch.randn(12, 2, generator=generator)
    draws = torch.Generator().manual_seed(3)
    subsets = fit_subsets(healthy, anomalies, 3, 5, draws)
    found = expected_posterior(points, healthy, subsets, 0.1)
    # The same subsets, drawn again.
    draws.manual_seed(3)
    least = (5 + 1 + 6) / 46
    shares = least + (0.99 - least) * torch.rand(3, generator=draws)
    keeps = [(torch.rand(46, generator=draws) < share).numpy() for share in shares]
    given = (healthy.double().numpy(), anomalies.double().numpy())
    expected = released_phi(points.double().numpy(), *given, 5, 0.1, keeps)
    assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-3)


def test_few_healthy_points_give_no_more_neighbours_than_there_are():
    healthy = torch.tensor([[0.0], [1.0], [2.0]])
    ordered = distances(healthy, healthy).sort(1).values
    assert enough_neighbours(ordered, distances(healthy, healthy[:1]), 5) == 2
    found = expected_posterior(healthy, healthy, fit_subsets(healthy, healthy[:1]), 0.05)
    assert torch.isfinite(found).all()

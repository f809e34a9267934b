"""Expected anomaly posterior (EAP): which synthetic anomalies are worth training on.

Perini et al., "Uncertainty-aware Evaluation of Auxiliary Anomalies with the Expected Anomaly
Posterior", TMLR 2024; code Lorenzo-Perini/ExpectedAnomalyPosterior. A synthetic anomaly is of no
use if it looks healthy, and of none if it looks like nothing real. The probability that x is an
anomaly gets a prior Beta(c, 1 - c), and as many pseudo-observations as there are healthy points
around x, each with the probability q of a classifier. The mean of the posterior is

    phi(x) = (c + n q(x) p(x)) / (1 + n p(x)),   p(x) = (1 / r(x)) / (1 / r(x) + sum_i 1 / r(x_i)),

over n healthy points x_i. r(x) is the rarity: the radius of the smallest ball around a healthy
point that contains x, each ball reaching to the k-th nearest other healthy point; outside all balls
1 / r is 0 and phi = c. phi is averaged over random subsets of the points, with the classifier and
the balls of each. k is the least for which the known anomalies lie in some ball, as the upper 95 %
quantile of a Beta posterior over them.

The classifier is a logistic regression with a unit ridge; the code takes any detector.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import beta
from torch import Tensor

MOST_KEPT = 0.99
"""Largest share of the points in a subset."""
QUANTILE = 0.95
"""Quantile of the posterior over k."""
SMALLEST = 1e-12
"""Least radius; that of a ball around equal points would be 0."""


class Subsets(NamedTuple):
    """Balls and classifier of each random subset of the points.

    Attributes:
        radii: `(K, N)` radius of the ball around each healthy point; 0 outside the subset.
        total: `(K,)` sum of 1 / rarity over the subset's healthy points.
        coefficients: `(K, F + 1)` of the logistic regression; the last one is the constant.
    """

    radii: Tensor
    total: Tensor
    coefficients: Tensor


def fit_subsets(
    healthy: Tensor,
    anomalies: Tensor,
    number: int = 20,
    neighbours: int = 5,
    generator: torch.Generator | None = None,
) -> Subsets:
    """Fit balls and classifier to random subsets of the points.

    Args:
        healthy: `(N, F)` features, on comparable scales.
        anomalies: `(A, F)` features of known anomalies.
        number: number of subsets; 100 in the code.
        neighbours: the least k.
        generator: source of the subsets; None for the global one.
    """
    points = torch.cat([healthy, anomalies])
    labels = torch.arange(len(points)) >= len(healthy)
    between, to_anomalies = distances(healthy, healthy), distances(healthy, anomalies)
    least = min((neighbours + 1 + len(anomalies)) / len(points), MOST_KEPT)
    shares = least + (MOST_KEPT - least) * torch.rand(number, generator=generator)
    radii = torch.zeros(number, len(healthy))
    total, coefficients = torch.zeros(number), torch.zeros(number, points.shape[1] + 1)
    for subset, share in enumerate(shares):
        kept = torch.rand(len(points), generator=generator) < share
        rows = kept[: len(healthy)].nonzero().flatten()
        coefficients[subset] = logistic_regression(points[kept], labels[kept])
        if not len(rows):
            continue
        own = between[rows][:, rows]
        ordered = own.sort(1).values
        k = enough_neighbours(ordered, to_anomalies[rows], neighbours)
        radii[subset, rows] = ordered[:, k].clamp_min(SMALLEST)
        total[subset] = (1 / rarity(own, radii[subset, rows])).sum()
    return Subsets(radii, total, coefficients)


def expected_posterior(
    points: Tensor, healthy: Tensor, subsets: Subsets, contamination: float
) -> Tensor:
    """Return phi of each point, `(P,)` in [0, 1]; larger is more useful.

    Args:
        points: `(P, F)` features of synthetic anomalies.
        healthy: `(N, F)` features that the subsets were drawn from.
        subsets: result of `fit_subsets`.
        contamination: c, the probability of an anomaly before anything is known.
    """
    away = distances(healthy, points)
    values = torch.zeros(len(points), device=points.device)
    for radii, total, coefficients in zip(*subsets, strict=True):
        inverse = 1 / rarity(away, radii)
        density = inverse / (inverse + total).clamp_min(SMALLEST)
        probability = torch.sigmoid(points @ coefficients[:-1] + coefficients[-1])
        weight = (radii > 0).sum() * density
        values += (contamination + weight * probability) / (1 + weight)
    return values / len(subsets.total)


def distances(one: Tensor, other: Tensor) -> Tensor:
    """Return the distances `(N, M)` of points; exactly 0 between equal ones."""
    return torch.cdist(one, other, compute_mode="donot_use_mm_for_euclid_dist")


def rarity(away: Tensor, radii: Tensor) -> Tensor:
    """Return the radius of the smallest ball around each point, infinite outside all.

    Args:
        away: `(N, P)` distances from the balls' centres.
        radii: `(N,)` radii of the balls; 0 for none.
    """
    return torch.where(away < radii[:, None], radii[:, None], torch.inf).amin(0)


def enough_neighbours(ordered: Tensor, to_anomalies: Tensor, least: int) -> int:
    """Return the k with which balls contain known anomalies, by the quantile of a posterior.

    Args:
        ordered: `(n, n)` sorted distances of each healthy point to all, itself first.
        to_anomalies: `(n, A)` distances of the healthy points to the anomalies.
        least: smallest k.
    """
    most = len(ordered) - 1
    if most <= least:
        return most
    # The first of a centre's neighbours that is further away than the anomaly.
    needed = torch.searchsorted(ordered, to_anomalies.contiguous(), right=True).amin(0)
    share = ((needed.clamp(least, most) - least) / (most - least)).double()
    successes = float(share.sum())
    upper = beta.ppf(QUANTILE, 1 + successes, 1 + len(share) - successes)
    return int(upper * (most - least) + least)


def logistic_regression(points: Tensor, labels: Tensor) -> Tensor:
    """Return the coefficients `(F + 1,)` of a logistic regression with a unit ridge.

    Args:
        points: `(P, F)`.
        labels: `(P,)` bool.
    """
    x = np.column_stack([points.double().numpy(), np.ones(len(points))])
    y = labels.double().numpy()
    penalised = np.append(np.ones(points.shape[1]), 0)

    def objective(w: np.ndarray) -> tuple[float, np.ndarray]:
        z, ridge = x @ w, penalised * w
        value = np.logaddexp(0, z).sum() - y @ z + 0.5 * ridge @ w
        return value, x.T @ (expit(z) - y) + ridge

    found = minimize(objective, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B")
    return torch.from_numpy(found.x).float()

"""The steps of a hidden Markov random field's expectation maximisation, on arrays alone.

The model of FAST (Zhang, Brady and Smith 2001, IEEE TMI 20(1)): a voxel's tissue is hidden, its
neighbours' tissues make it likelier, its intensity is that tissue's Gaussian times a smooth field.
Differences are named where they are made.
"""

from dataclasses import dataclass

import numpy as np

TYPICAL = 3.0
"""Standard deviations at which half of a voxel counts as an outlier (Van Leemput et al. 2001)."""


@dataclass(frozen=True)
class Classes:
    """Gaussians in rising order of their means.

    Attributes:
        means: `(K,)` in the unit of the image.
        deviations: `(K,)` standard deviations, above 0.
        weights: `(K,)` shares of the voxels, summing to 1.
    """

    means: np.ndarray
    deviations: np.ndarray
    weights: np.ndarray


def neighbour_sum(posterior: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """What the six face neighbours say, each weighted by the shortest edge over its distance.

    Args:
        posterior: `(K, D, H, W)`, 0 outside the brain, so that the outside has no say.
        spacing_mm: edge lengths of a voxel.

    Returns:
        `(K, D, H, W)` in [0, 6].
    """
    total = np.zeros_like(posterior)
    for axis, edge in enumerate(spacing_mm, start=1):
        weight = posterior.dtype.type(min(spacing_mm) / edge)
        ahead = (slice(None),) * axis + (slice(1, None),)
        behind = (slice(None),) * axis + (slice(None, -1),)
        total[behind] += weight * posterior[ahead]
        total[ahead] += weight * posterior[behind]
    return total


def log_likelihood(values: np.ndarray, classes: Classes) -> np.ndarray:
    """Log density of each class, `(K, *S)`, for `values` of `(*S)`.

    What lies beyond the outermost means counts as lying on them: between Gaussians of unequal
    width the widest wins both tails, and a bright tumour on T1 would become fluid.
    """
    inside = np.clip(values, classes.means[0], classes.means[-1])
    rows = [
        -0.5 * ((inside - mean) / deviation) ** 2 - np.log(deviation)
        for mean, deviation in zip(classes.means, classes.deviations, strict=True)
    ]
    return np.stack(rows).astype(np.float32)


def expectation(
    likelihood: np.ndarray, brain: np.ndarray, prior: np.ndarray | float = 0.0
) -> np.ndarray:
    """Posterior of the classes, `(K, D, H, W)`, summing to 1 in the brain and 0 outside.

    Args:
        likelihood: `(K, D, H, W)` log densities.
        brain: `(D, H, W)` bool.
        prior: log prior that broadcasts to them, up to a constant a voxel: `beta` times
            `neighbour_sum` for one mean-field step, log weights for a plain mixture.
    """
    energy = likelihood + prior
    energy -= energy.max(0)
    np.exp(energy, out=energy)
    energy *= brain / energy.sum(0)
    return energy


def typicality(values: np.ndarray, classes: Classes) -> np.ndarray:
    """How far each voxel counts for each class, `(K, *S)` in [0, 1].

    1 near the mean, a half at `TYPICAL` standard deviations, 0 far away (Van Leemput et al. 2001,
    IEEE TMI 20(8), equation 7): lesions then move neither means nor field.
    """
    rows = [
        1 / (1 + np.exp(np.minimum(0.5 * ((values - m) / s) ** 2 - 0.5 * TYPICAL**2, 50.0)))
        for m, s in zip(classes.means, classes.deviations, strict=True)
    ]
    return np.stack(rows).astype(np.float32)


def maximisation(values: np.ndarray, weights: np.ndarray, floor: float) -> Classes:
    """Weighted means, deviations (at least `floor`) and shares.

    Args:
        values: `(*S)`.
        weights: `(K, *S)`, posterior times typicality.
        floor: least standard deviation.
    """
    flat = weights.reshape(len(weights), -1).astype(np.float64)
    line = values.reshape(-1).astype(np.float64)
    total = np.maximum(flat.sum(1), 1e-6)
    means = flat @ line / total
    variances = np.maximum(flat @ line**2 / total - means**2, floor**2)
    return Classes(means, np.sqrt(variances), total / total.sum())


class SmoothField:
    """A multiplicative field as a ratio of two Gaussian averages, on a grid of sigma / 2.

    Args:
        shape: `(D, H, W)`.
        spacing_mm: edge lengths of a voxel.
        sigma_mm: of the Gaussian.
    """

    def __init__(
        self, shape: tuple[int, ...], spacing_mm: tuple[float, float, float], sigma_mm: float
    ):
        self._down: list[np.ndarray] = []
        self._up: list[np.ndarray] = []
        for size, edge in zip(shape, spacing_mm, strict=True):
            voxel = np.arange(size) * edge
            knots = np.linspace(0, voxel[-1], max(2, round(2 * voxel[-1] / sigma_mm) + 1))
            gauss = np.exp(-0.5 * ((knots[:, None] - voxel) / sigma_mm) ** 2)
            hats = [np.interp(voxel, knots, row) for row in np.eye(len(knots))]
            self._down.append(gauss.astype(np.float32))
            self._up.append(np.stack(hats, 1).astype(np.float32))

    def __call__(self, values: np.ndarray, posterior: np.ndarray, classes: Classes) -> np.ndarray:
        """Least squares of `values - field * mean` around each place, `(D, H, W)` float32.

        FAST filters the residuals of the logarithm (Wells et al. 1996; Guillemaud and Brady
        1997); here the residuals are of the intensity itself, so that dark fluid, whose logarithm
        is mostly noise, says little about the field.
        """
        precision = (classes.means / classes.deviations**2).astype(np.float32)
        upper = np.tensordot(precision, posterior, 1) * values
        lower = np.tensordot(precision * classes.means.astype(np.float32), posterior, 1)
        upper, lower = _separable(upper, self._down), _separable(lower, self._down)
        ratio = upper / np.maximum(lower, 1e-6 * lower.max())
        return np.clip(_separable(ratio, self._up), 0.1, 10.0)


def _separable(array: np.ndarray, matrices: list[np.ndarray]) -> np.ndarray:
    """One matrix an axis; each product moves its axis to the end, three bring them round."""
    for matrix in matrices:
        array = np.tensordot(array, matrix, axes=(0, 1))
    return array

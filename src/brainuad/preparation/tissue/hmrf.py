"""The steps of a hidden Markov random field's expectation maximisation, on arrays alone.

The model of FAST (Zhang, Brady and Smith 2001, IEEE TMI 20(1)): a voxel's tissue is hidden, its
neighbours' tissues make it likelier, its intensity is that tissue's Gaussian times a smooth field.
Differences are named where they are made.

All of it is about the brain's N voxels as one line, in the order of the array; only neighbours and
field need the box around them. Densities are computed in float64 and kept in float32.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

TYPICAL = 3.0
"""Standard deviations at which half of a voxel counts as an outlier (Van Leemput et al. 2001)."""

BLOCK = 2**15
"""Voxels that are computed at a time, so that steps in between stay in the processor's cache."""


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


class Box:
    """The array around a brain, and where the brain's voxels lie in it.

    Args:
        brain: `(D, H, W)` bool, with at least one voxel.
        margin: voxels beyond the brain on each side.

    Attributes:
        array: float32, 0 outside the brain; the last values that were spread.
    """

    def __init__(self, brain: np.ndarray, margin: int):
        inside = np.pad(brain[ndimage.find_objects(brain.astype(np.uint8))[0]], margin)
        self.array: np.ndarray = np.zeros(inside.shape, np.float32)
        self._places = np.flatnonzero(inside)

    def spread(self, line: np.ndarray) -> np.ndarray:
        """`array`, with `(N,)` values in the brain."""
        self.array.reshape(-1)[self._places] = line
        return self.array

    def gather(self, array: np.ndarray) -> np.ndarray:
        """The brain's `(N,)` values of an array as large as the box."""
        # The places are within bounds, and this mode does not look.
        return array.reshape(-1).take(self._places, mode="clip")


class NeighbourSum:
    """Return the sum over the six face neighbours, weighted by the shortest edge over distance.

    Args:
        brain: `(D, H, W)` bool, with at least one voxel; voxels outside have no influence.
        spacing_mm: edge lengths of a voxel.
    """

    def __init__(self, brain: np.ndarray, spacing_mm: tuple[float, float, float]):
        # The margin makes a step to a neighbour the same number of places everywhere.
        self._box = Box(brain, margin=1)
        _, height, width = self._box.array.shape
        self._steps = (height * width, width, 1)
        self._weights = [np.float32(min(spacing_mm) / edge) for edge in spacing_mm]
        self._total = np.zeros(self._box.array.size, np.float32)

    def __call__(self, posterior: np.ndarray) -> np.ndarray:
        """`(K, N)` float32 to the same, in [0, 6]."""
        found = np.empty_like(posterior)
        first = self._steps[0]
        for row, own in zip(found, posterior, strict=True):
            flat = self._box.spread(own).reshape(-1)
            axes = [flat if weight == 1 else weight * flat for weight in self._weights]
            for part in _blocks(first, flat.size - first):
                ahead, behind, *others = (
                    axis[part.start + step : part.stop + step]
                    for axis, size in zip(axes, self._steps, strict=True)
                    for step in (size, -size)
                )
                total = np.add(ahead, behind, out=self._total[part])
                for other in others:
                    total += other
            row[:] = self._box.gather(self._total)
        return found


def log_likelihood(values: np.ndarray, classes: Classes, drawn_in: bool = True) -> np.ndarray:
    """Log density of each class up to a constant, `(K, N)` float32, for `(N,)` values.

    Args:
        values: intensities in the unit of the means.
        classes: classes in rising order of their means, unless not `drawn_in`.
        drawn_in: values beyond the outermost means count as lying on them: between Gaussians
            of unequal width the widest wins both tails, and a bright tumour on T1 would become
            fluid.
    """
    found = np.empty((len(classes.means), len(values)), np.float32)
    offset = np.log(classes.deviations)[:, None]
    for part in _blocks(0, len(values)):
        line = values[part]
        if drawn_in:
            line = np.clip(line, classes.means[0], classes.means[-1])
        found[:, part] = -offset - _half_squares(line, classes)
    return found


def expectation(likelihood: np.ndarray, prior: np.ndarray | float = 0.0) -> np.ndarray:
    """Posterior of the classes, `(K, N)`, summing to 1.

    Args:
        likelihood: `(K, N)` log densities.
        prior: log prior that broadcasts to them, up to a constant a voxel: `beta` times
            `NeighbourSum` for one mean-field step, log weights for a plain mixture.
    """
    found = likelihood + prior
    for part in _blocks(0, found.shape[1]):
        energy = found[:, part]
        energy -= energy.max(0)
        np.exp(energy, out=energy)
        energy *= 1 / energy.sum(0)
    return found


def typicality(values: np.ndarray, classes: Classes, kappa: float = TYPICAL) -> np.ndarray:
    """Return the weight of each voxel for each class, `(K, N)` float32 in [0, 1].

    1 near the mean, a half at `kappa` standard deviations, 0 far away (Van Leemput et al. 2001,
    IEEE TMI 20(8), equation 7): lesions then move neither means nor field.
    """
    found = np.empty((len(classes.means), len(values)), np.float32)
    for part in _blocks(0, len(values)):
        closeness = torch.from_numpy(0.5 * kappa**2 - _half_squares(values[part], classes))
        # Of double precision, torch's is several times as fast as NumPy's exponential.
        found[:, part] = closeness.sigmoid_()
    return found


def maximisation(values: np.ndarray, weights: np.ndarray, floor: float) -> Classes:
    """Weighted means, deviations (at least `floor`) and shares.

    Args:
        values: `(N,)`.
        weights: `(K, N)`, posterior times typicality.
        floor: least standard deviation.
    """
    moments = np.zeros((3, len(weights)))
    for part in _blocks(0, len(values)):
        line, shares = values[part].astype(np.float64), weights[:, part].astype(np.float64)
        moments += shares.sum(1), shares @ line, shares @ line**2
    total = np.maximum(moments[0], 1e-6)
    means = moments[1] / total
    variances = np.maximum(moments[2] / total - means**2, floor**2)
    return Classes(means, np.sqrt(variances), total / total.sum())


def _half_squares(values: np.ndarray, classes: Classes) -> np.ndarray:
    """Half the squared distance to each mean in standard deviations, `(K, N)` float64."""
    found = values.astype(np.float64) - classes.means[:, None]
    found *= found
    found *= 0.5 / classes.deviations[:, None] ** 2
    return found


def _blocks(start: int, stop: int) -> Iterator[slice]:
    """The range in slices of `BLOCK`, the last one shorter."""
    return (slice(at, min(at + BLOCK, stop)) for at in range(start, stop, BLOCK))


class SmoothField:
    """A multiplicative field as a ratio of two Gaussian averages, on a grid of sigma / 2.

    Args:
        brain: `(D, H, W)` bool, with at least one voxel.
        spacing_mm: edge lengths of a voxel.
        sigma_mm: standard deviation of the Gaussian.
    """

    def __init__(self, brain: np.ndarray, spacing_mm: tuple[float, float, float], sigma_mm: float):
        self._box = Box(brain, margin=0)
        self._down: list[np.ndarray] = []
        self._up: list[np.ndarray] = []
        for size, edge in zip(self._box.array.shape, spacing_mm, strict=True):
            voxel = np.arange(size) * edge
            knots = np.linspace(0, voxel[-1], max(2, round(2 * voxel[-1] / sigma_mm) + 1))
            gauss = np.exp(-0.5 * ((knots[:, None] - voxel) / sigma_mm) ** 2)
            hats = [np.interp(voxel, knots, row) for row in np.eye(len(knots))]
            self._down.append(gauss.astype(np.float32))
            self._up.append(np.stack(hats, 1).astype(np.float32))

    def __call__(self, values: np.ndarray, posterior: np.ndarray, classes: Classes) -> np.ndarray:
        """Least squares of `values - field * mean` around each place, `(N,)` float32.

        FAST filters the residuals of the logarithm (Wells et al. 1996; Guillemaud and Brady
        1997); here the residuals are of the intensity itself, so that dark fluid, whose logarithm
        is mostly noise, says little about the field.
        """
        precision = (classes.means / classes.deviations**2).astype(np.float32)
        upper = np.tensordot(precision, posterior, 1) * values
        lower = np.tensordot(precision * classes.means.astype(np.float32), posterior, 1)
        upper, lower = (_separable(self._box.spread(line), self._down) for line in (upper, lower))
        ratio = upper / np.maximum(lower, 1e-6 * lower.max())
        return np.clip(self._box.gather(_separable(ratio, self._up)), 0.1, 10.0)


def _separable(array: np.ndarray, matrices: list[np.ndarray]) -> np.ndarray:
    """One matrix an axis; each product moves its axis to the end, three bring them round."""
    for matrix in matrices:
        array = np.tensordot(array, matrix, axes=(0, 1))
    return array

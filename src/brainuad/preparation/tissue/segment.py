"""Tissue classes of one sequence: fluid, grey and white matter by its own intensities.

The input of StRegA (Chatterjee et al. 2022, Computers in Biology and Medicine 149) in place of
intensities. It took FAST (Zhang, Brady and Smith 2001, IEEE TMI 20(1)); this is the same model,
fitted by `brainuad.preparation.tissue.hmrf`, whose docstrings name the differences.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from skimage.filters import threshold_multiotsu

from brainuad.preparation.tissue.hmrf import (
    Classes,
    NeighbourSum,
    SmoothField,
    expectation,
    log_likelihood,
    maximisation,
    typicality,
)

Backend = Literal["hmrf", "gmm", "kmeans"]
BACKENDS = ("hmrf", "gmm", "kmeans")

FLOOR = 0.02
"""Least standard deviation of a class, of the brain's median: no class shrinks to one value."""

ITERATIONS = 20
"""Number of iterations; it also bounds how fine the field gets."""

LEAST_SHARE = 0.2
"""A class's share of the brain counts as at least this in its prior."""


@dataclass(frozen=True)
class Tissues:
    """A tissue segmentation on the grid of the image.

    Attributes:
        labels: `(D, H, W)` uint8, 0 outside the brain, 1 to K in rising order of intensity, as
            FAST numbers them: on T1 fluid, grey, white; on T2 the other way round.
        partial_volume: `(D, H, W)` float32, the mean class number under the posterior: 0 outside,
            in [1, K] in the brain, between two labels where a voxel may be either or both.
        bias: `(D, H, W)` float32, the field that the image holds as a factor: mean 1 in the
            brain, 1 outside and where it was not estimated. `image / bias` is corrected.
    """

    labels: np.ndarray
    partial_volume: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class TissueInput:
    """Tissue in place of intensity: StRegA's "segmentation-regularised" input.

    Contrast and scanner drop out of what a network sees; a lesion shows as tissue that is wrong
    for its place.

    Args:
        spacing_mm: edge length of isotropic prepared voxels in mm, for use as a normaliser.
        backend: `hmrf`, Gaussians with neighbours as in FAST; `gmm`, the same without them;
            `kmeans`, the nearest mean, all classes equally wide.
        classes: K, at least 2.
        beta: weight of a neighbour's posterior in a class's log prior (`hmrf` only); FAST's
            default is 0.1.
        bias_sigma_mm: width of the Gaussian of one pass of the field; None estimates no field.
            Passes multiply, so that the field is finer than one pass of this width.
        soft: the partial-volume map; False gives the labels.
    """

    spacing_mm: float = 1.0
    backend: Backend = "hmrf"
    classes: int = 3
    beta: float = 0.1
    bias_sigma_mm: float | None = 20.0
    soft: bool = True

    def __call__(self, image: np.ndarray, brain_mask: np.ndarray) -> np.ndarray:
        """The normaliser: `of` on isotropic voxels."""
        return self.of(image, brain_mask, (self.spacing_mm,) * 3)

    def of(
        self, image: np.ndarray, brain_mask: np.ndarray, spacing_mm: tuple[float, float, float]
    ) -> np.ndarray:
        """`(D, H, W)` image and mask to float32: class number over K, 0 outside the brain.

        Raises:
            ValueError: as `segment`.
        """
        found = self.segment(image, brain_mask, spacing_mm)
        chosen = found.partial_volume if self.soft else found.labels
        return (chosen / self.classes).astype(np.float32)

    def segment(
        self, image: np.ndarray, brain_mask: np.ndarray, spacing_mm: tuple[float, float, float]
    ) -> Tissues:
        """Return classes of intensity and a bias field at once, from one sequence alone.

        Starts at the thresholds of multi-level Otsu, then alternates posterior, class statistics
        and field. Nothing is drawn at random; scaling the image changes nothing. Lesions get the
        label of the tissue they are as bright as, and count little in the statistics.

        Args:
            image: `(D, H, W)`, any unit; not below 0 while a field is estimated, as in magnitude
                images (up to a twentieth of the brain may be, which then counts as 0).
            brain_mask: `(D, H, W)`, bool or 0 and 1.
            spacing_mm: edge lengths of a voxel along D, H, W.

        Raises:
            ValueError: shapes differ, the mask is empty, the image is not finite in the brain or
                has fewer values there than classes, or a parameter is out of its range.
        """
        brain = np.asarray(brain_mask) > 0
        self._check(image, brain, spacing_mm)
        values = image[brain].astype(np.float64)
        sigma_mm = self.bias_sigma_mm
        if sigma_mm is not None:
            values = np.maximum(values, 0)
        spread = np.abs(values)
        values = (values / (np.median(spread) or spread.mean())).astype(np.float32)

        smooth = SmoothField(brain, spacing_mm, sigma_mm) if sigma_mm else None
        coupled = self.backend == "hmrf" and self.beta > 0
        neighbour_sum = NeighbourSum(brain, spacing_mm) if coupled else None
        field, zero = np.ones_like(values), np.float32(0)
        corrected = values
        posterior, fitted = _start(values, self.classes)
        for _ in range(ITERATIONS):
            if smooth is not None:
                weights = typicality(corrected, fitted)
                weights *= posterior
                field *= smooth(corrected, weights, fitted)
                field /= field.mean()
                corrected = values / field
            said = np.float32(self.beta) * neighbour_sum(posterior) if neighbour_sum else zero
            posterior = _posterior(corrected, fitted, self.backend, said)
            weights = typicality(corrected, fitted)
            weights *= posterior
            fitted = maximisation(corrected, weights, FLOOR)

        posterior = posterior[np.argsort(fitted.means, kind="stable")]
        numbers = np.arange(1, self.classes + 1, dtype=np.float32)
        labels = np.zeros(brain.shape, np.uint8)
        labels[brain] = posterior.argmax(0) + 1
        partial = np.zeros(brain.shape, np.float32)
        partial[brain] = np.clip(np.tensordot(numbers, posterior, 1), 1, self.classes)
        bias = np.ones(brain.shape, np.float32)
        bias[brain] = field
        return Tissues(labels, partial, bias)

    def _check(
        self, image: np.ndarray, brain: np.ndarray, spacing_mm: tuple[float, float, float]
    ) -> None:
        """Refuse impossible options before anything is computed."""
        if image.ndim != 3 or image.shape != brain.shape:
            raise ValueError(
                f"image {image.shape} and brain mask {brain.shape} must be one 3D grid"
            )
        if len(spacing_mm) != 3 or min(spacing_mm) <= 0:
            raise ValueError(f"spacing_mm {spacing_mm}: expected three lengths above 0")
        if self.backend not in BACKENDS:
            raise ValueError(f"backend {self.backend!r}: expected one of {', '.join(BACKENDS)}")
        if self.classes < 2 or self.beta < 0:
            raise ValueError(f"classes {self.classes}, beta {self.beta}: at least 2 and 0 expected")
        if self.bias_sigma_mm is not None and self.bias_sigma_mm <= 0:
            raise ValueError(
                f"bias_sigma_mm {self.bias_sigma_mm}: expected above 0, or None for no field"
            )
        if not brain.any():
            raise ValueError("the brain mask is empty: nothing to segment")
        values = image[brain]
        if not np.isfinite(values).all():
            raise ValueError("the image holds values in the brain that are not finite")
        if (found := len(np.unique(values))) < self.classes:
            raise ValueError(
                f"the brain holds {found} distinct values, too few for {self.classes} classes"
            )
        if self.bias_sigma_mm is not None and (values < 0).mean() > 0.05:
            raise ValueError(
                "a bias field is a factor, and over a twentieth of the brain is below 0: give the "
                "image before it is standardised, or bias_sigma_mm=None"
            )


def _start(values: np.ndarray, classes: int) -> tuple[np.ndarray, Classes]:
    """Multi-level Otsu: k-means of one dimension, solved exactly.

    Values beyond the quartiles by more than their distance are drawn in: a bright lesion, far
    away, would otherwise be given a class of its own and two tissues would share another.
    """
    low, high = np.percentile(values, [25, 75])
    drawn = np.clip(values, 2 * low - high, 2 * high - low)
    if len(np.unique(drawn)) < classes:  # more than half of the brain is one value
        drawn = values
    thresholds = threshold_multiotsu(drawn, classes)
    posterior = _one_hot(np.digitize(values, thresholds), classes)
    return posterior, maximisation(drawn, posterior, FLOOR)


def _one_hot(number: np.ndarray, classes: int) -> np.ndarray:
    """`(K, N)` float32: 1 at each voxel's own class number, from 0, and 0 elsewhere."""
    return (number == np.arange(classes)[:, None]).astype(np.float32)


def _posterior(
    corrected: np.ndarray,
    fitted: Classes,
    backend: Backend,
    said: np.ndarray | np.float32,
) -> np.ndarray:
    """`(K, N)`; unlike FAST, the prior of a class holds its share of the brain as well."""
    if backend == "kmeans":
        means = fitted.means.astype(np.float32)[:, None]
        return _one_hot(np.abs(corrected - means).argmin(0), len(means))
    # The floor keeps a small class alive: a tumour on FLAIR would otherwise share grey's label.
    shares = np.log(np.maximum(fitted.weights, LEAST_SHARE)).astype(np.float32)
    return expectation(log_likelihood(corrected, fitted), shares[:, None] + said)

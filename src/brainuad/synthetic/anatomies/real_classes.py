"""Shares of the sixteen classes in a real healthy scan.

A three-tissue segmentation (`preparation.tissue`) cannot tell the thalamus from white matter on
T1w, nor the tissues of FLAIR. Here the mean of the bank's anatomies gives each place its likely
classes, and the scan's intensities decide among them. Voxels between tissue and CSF hold shares of
both: a scan that is remapped into another sequence has no rim of a third class there.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.special import softmax

from brainuad.synthetic.anatomies.classes import CLASSES, CSF, GREY, WHITE
from brainuad.synthetic.anatomies.contrast import RELATIVE
from brainuad.synthetic.anatomies.partial_volumes import DISTANCE_MM, PartialVolumes

CLASSIFIED = ("T1w", "T2w", "FLAIR")
"""Sequences on which CSF differs from tissue: not PD."""

WIDTH = 0.1
"""Standard deviation of a tissue's intensities, of white matter's; wide, so that shares are soft
at the border of grey and white matter."""

DEAD = 0.15
"""Share of the way from tissue to CSF that noise may go without making CSF, and back."""

ROUNDS, STIFFNESS = 6, 20.0
"""Updates of the means, and voxels that the usual mean counts for: small classes stay near it."""

LATERAL_MM = 15.0
"""Distance to the bank's lateral and third ventricles up to which fluid is of these, not of the
fourth."""

LEAST_SPREAD = 0.01

_FLUID = (*CSF, CLASSES.index("plexus"))
_TISSUE = (*WHITE, *GREY)
_INSIDE = (*_TISSUE, *_FLUID)


@dataclass(frozen=True)
class ClassPriors:
    """The mean of some anatomies, left and right averaged.

    Attributes:
        shares: `(16, D, H, W)` probabilities of the classes of the brain, summing to 1; 0 for
            vessels, bone and soft tissue.
        brain: `(D, H, W)` bool, the mean brain.
        ventricle_mm: `(D, H, W)` mean distance to the lateral and third ventricles.
    """

    shares: np.ndarray
    brain: np.ndarray
    ventricle_mm: np.ndarray


@dataclass(frozen=True)
class Classified:
    """A real scan and its classes.

    Attributes:
        volumes: as of an anatomy of the bank; the shares of each voxel of the brain sum to 255.
        image: `(D, H, W)` float32, white matter 1; the nearest value of the brain outside it.
        means: `(16,)` float32 of the classes, in the unit of `image`.
        spreads: `(2,)` float32 robust standard deviations about the mixture of the means, in white
            and in grey matter.
    """

    volumes: PartialVolumes
    image: np.ndarray
    means: np.ndarray
    spreads: np.ndarray


def class_priors(anatomies: list[PartialVolumes], spacing_mm: float) -> ClassPriors:
    """Return the mean of anatomies, smoothed by 2 mm because heads differ.

    Args:
        anatomies: one or more, on one grid.
        spacing_mm: edge length of a voxel.
    """
    inside = list(_INSIDE)
    shape = anatomies[0].brain.shape
    shares, brain, distance = (np.zeros(n, np.float32) for n in ((16, *shape), shape, shape))
    for anatomy in anatomies:
        shares[inside] += anatomy.tissues[inside] / np.float32(255)
        brain += anatomy.brain / np.float32(255)
        distance += anatomy.ventricle_mm * np.float32(DISTANCE_MM)
    count = len(anatomies)
    shares, brain, distance = (
        (one + np.flip(one, -3)) / (2 * count) for one in (shares, brain, distance)
    )
    sigma = 2 / spacing_mm
    shares[inside] = ndimage.gaussian_filter(shares[inside], (0, sigma, sigma, sigma))
    # No tissue is impossible anywhere; these three are found everywhere.
    shares[inside] += np.float32(1e-5)
    shares[[CLASSES.index(name) for name in ("white", "cortex", "sulcal CSF")]] += np.float32(1e-3)
    return ClassPriors(shares / shares.sum(0), brain > 0.5, distance)


def classify(
    image: np.ndarray, brain: np.ndarray, priors: ClassPriors, sequence: str, spacing_mm: float
) -> Classified:
    """Return the classes of a healthy scan.

    Args:
        image: `(D, H, W)` on the grid of the priors, any unit.
        brain: `(D, H, W)` share of the brain in each voxel.
        priors: priors of the bank.
        sequence: one of `CLASSIFIED`.
        spacing_mm: edge length of a voxel.
    """
    inside = brain > 0.5
    values = image[inside].astype(np.float32)
    prior = priors.shares[:, inside]
    usual = np.array([RELATIVE[sequence][name][1] for name in CLASSES], np.float32)
    surest = prior[0] >= np.quantile(prior[0], 0.9)
    scale = float(np.median(values[surest]))
    means = usual.copy()
    for _ in range(ROUNDS):
        # Pure voxels count: mixed ones would draw the means together.
        weights = _shares(values / scale, prior, means) ** 4
        means = (STIFFNESS * usual + weights @ (values / scale)) / (STIFFNESS + weights.sum(1))
        scale, means = scale * float(means[0]), means / means[0]
    values = values / scale
    shares = _shares(values, prior, means)
    off = values - means @ shares
    spreads = [_spread(off[shares[list(group)].sum(0) > 0.9]) for group in (WHITE, GREY)]
    tissues = np.zeros((len(CLASSES), *brain.shape), np.uint8)
    tissues[:, inside] = _bytes(shares)
    nearest = ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True)
    whole = np.zeros(brain.shape, np.float32)
    whole[inside] = values
    fluid = tissues[[CLASSES.index("ventricles"), CLASSES.index("plexus")]].sum(0, dtype=int)
    wall = (fluid > 127) & (priors.ventricle_mm < LATERAL_MM)
    distance = priors.ventricle_mm
    if wall.any():
        distance = ndimage.distance_transform_edt(~wall, spacing_mm)
    return Classified(
        PartialVolumes(
            tissues,
            np.where(inside, 255, 0).astype(np.uint8),
            np.zeros(brain.shape, np.uint8),
            np.rint(distance / DISTANCE_MM).clip(0, 255).astype(np.uint8),
        ),
        whole[tuple(nearest)],
        means.astype(np.float32),
        np.array(spreads, np.float32),
    )


def _shares(values: np.ndarray, prior: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Return shares `(16, N)` of the classes: the tissue by Gaussians, CSF by the intensity."""
    tissue, fluid = list(_TISSUE), list(_FLUID)
    drawn_in = np.clip(values, means[tissue].min(), means[tissue].max())
    off = (drawn_in - means[tissue, None]) / WIDTH
    posterior = softmax(np.log(prior[tissue]) - 0.5 * off**2, axis=0)
    solid = means[tissue] @ posterior
    split = prior[fluid] / prior[fluid].sum(0)
    # The plexus lies in fluid; of it a voxel's own intensity says too little.
    water = means[fluid[:2]] @ split[:2] / split[:2].sum(0)
    way = (solid - values) / (solid - water)
    wet = np.clip((way - DEAD) / (1 - 2 * DEAD), 0, 1)
    shares = np.zeros_like(prior)
    shares[tissue] = posterior * (1 - wet)
    shares[fluid] = split * wet
    return shares


def _bytes(shares: np.ndarray) -> np.ndarray:
    """Return shares in steps of 1 / 255 that sum to 255; the largest one absorbs the rounding."""
    found = np.rint(shares * 255).astype(np.int16)
    largest = found.argmax(0)[None]
    rest = 255 - found.sum(0)[None]
    np.put_along_axis(found, largest, np.take_along_axis(found, largest, 0) + rest, 0)
    return found.astype(np.uint8)


def _spread(off: np.ndarray) -> float:
    if not off.size:
        return LEAST_SPREAD
    return max(LEAST_SPREAD, 1.4826 * float(np.median(np.abs(off - np.median(off)))))

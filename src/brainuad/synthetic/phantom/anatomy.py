"""The anatomy of one healthy subject: a warped template with folds of its own."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from brainuad.synthetic.phantom.fields import generator, random_field, tame, warp
from brainuad.volumes.regions import largest_region
from brainuad.volumes.template import Template, load_template

SHARPNESS = 2.2
"""Exponent that turns the average brain's blurred probabilities into one person's tissues."""


@dataclass(frozen=True)
class Anatomy:
    """Tissue shares of a subject on the template's grid, each `(D, H, W)` float32 in [0, 1].

    Attributes:
        brain_mask: bool.
        grey: grey matter.
        white: white matter.
        csf: cerebrospinal fluid.
        ventricles: deep CSF.
        deep_grey: basal ganglia and thalami.
        ventricle_distance_mm: distance to the ventricles.
        surface_distance_mm: distance to the outside of the brain.
        spacing_mm: edge length of a voxel.
        affine: `(4, 4)`, voxel to RAS mm.
    """

    brain_mask: np.ndarray
    grey: np.ndarray
    white: np.ndarray
    csf: np.ndarray
    ventricles: np.ndarray
    deep_grey: np.ndarray
    ventricle_distance_mm: np.ndarray
    surface_distance_mm: np.ndarray
    spacing_mm: float
    affine: np.ndarray


def draw_displacement(template: Template, subject: str, seed: int) -> np.ndarray:
    """A smooth invertible warp: size and pose, regional shape, folding, ventricles.

    What is left after an affine registration: a few per cent of size, some mm of shape.

    Returns:
        `(3, D, H, W)` in mm; the subject at x shows the template at x + displacement(x).
    """
    shape, spacing = template.brain.shape, template.spacing_mm
    rng = generator(seed, subject, "warp")
    grid = np.indices(shape, dtype=np.float32) * spacing
    centre = np.array(ndimage.center_of_mass(template.brain)) * spacing
    relative = grid - centre[:, None, None, None].astype(np.float32)
    scale = np.diag(rng.normal(0, 0.025, 3))
    turn = np.radians(rng.normal(0, 1.2, 3))
    rotation = np.array([[0, -turn[2], turn[1]], [turn[2], 0, -turn[0]], [-turn[1], turn[0], 0]])
    total = np.tensordot((scale + rotation).astype(np.float32), relative, axes=1)
    total += rng.normal(0, 1.0, 3)[:, None, None, None].astype(np.float32)
    for scale_mm, amplitude_mm in ((25.0, 1.8), (9.0, 1.3), (5.0, 0.7)):
        for axis in range(3):
            total[axis] += amplitude_mm * random_field(rng, shape, spacing, scale_mm)
    total += _ventricle_growth(template, rng)
    return tame(total, spacing)


def draw_anatomy(subject: str, seed: int, spacing_mm: float) -> Anatomy:
    """Warp the template and gives the subject folds of its own.

    The template is an average, so its cortex is blurred; a random field is added to the logs of
    the tissue shares, which are then sharpened: where the average is undecided, each subject
    decides differently.
    """
    template = load_template(spacing_mm)
    displacement = draw_displacement(template, subject, seed)
    rng = generator(seed, subject, "folds")
    shape = template.brain.shape
    brain, grey, white, csf, ventricles, deep_grey = (
        warp(array, displacement, spacing_mm)
        for array in (
            template.brain,
            template.grey,
            template.white,
            template.csf,
            template.ventricles,
            template.deep_grey,
        )
    )
    brain_mask = ndimage.binary_fill_holes(brain > 0.5)
    # Folds of the cortex only: deep structures keep their borders.
    depth = ndimage.distance_transform_edt(brain_mask, sampling=spacing_mm).astype(np.float32)
    folding = np.exp(-depth / 25)
    fold_scale = max(2.2, 0.8 * spacing_mm)
    atrophy = rng.normal(0.35, 0.25)
    logs = [
        SHARPNESS * np.log(share + 0.01) + strength * folding * field + offset * folding
        for share, strength, field, offset in (
            (grey, 0.5, random_field(rng, shape, spacing_mm, fold_scale), 0.0),
            (white, 0.9, random_field(rng, shape, spacing_mm, fold_scale), 0.0),
            (csf, 1.3, random_field(rng, shape, spacing_mm, fold_scale), atrophy),
        )
    ]
    highest = np.maximum(np.maximum(logs[0], logs[1]), logs[2])
    shares = [np.exp(log - highest) for log in logs]
    total = sum(shares)
    grey_share, white_share, csf_share = (
        np.where(brain_mask, share / total, 0).astype(np.float32) for share in shares
    )
    deep_csf = np.clip(ventricles / np.maximum(csf, 0.05), 0, 1) * csf_share
    deep = np.clip(deep_grey / np.maximum(grey, 0.05), 0, 1) * grey_share
    inside_ventricles = largest_region(deep_csf > 0.5)
    distance = ndimage.distance_transform_edt(~inside_ventricles, sampling=spacing_mm)
    return Anatomy(
        brain_mask=brain_mask,
        grey=grey_share,
        white=white_share,
        csf=csf_share,
        ventricles=deep_csf.astype(np.float32),
        deep_grey=deep.astype(np.float32),
        ventricle_distance_mm=distance.astype(np.float32),
        surface_distance_mm=depth,
        spacing_mm=spacing_mm,
        affine=template.affine,
    )


def _ventricle_growth(template: Template, rng: np.random.Generator) -> np.ndarray:
    """Move the ventricles' walls by -1.2 to 3 mm along their normal, fading within 10 mm."""
    inside = template.ventricles > 0.4
    spacing = template.spacing_mm
    signed = ndimage.distance_transform_edt(~inside, sampling=spacing)
    signed -= ndimage.distance_transform_edt(inside, sampling=spacing)
    signed = ndimage.gaussian_filter(signed.astype(np.float32), 2.0 / spacing)
    normal = np.array(np.gradient(signed, spacing), dtype=np.float32)
    normal /= np.maximum(np.linalg.norm(normal, axis=0), 1e-3)
    # Looking towards the ventricle from outside enlarges it.
    amount = -np.float32(rng.uniform(-1.2, 3.0))
    return amount * np.exp(-((signed / 10) ** 2)) * normal

"""The MNI152 2009 tissue maps that nilearn ships, on one fixed grid per spacing."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

from brainuad.machine.cache import kept_arrays

SIZE_MM = (192, 224, 176)
"""Extent of the grid: the brain, its variation and a margin."""

VERSION = 1
"""Number of the way that the maps are made; count it up where they change."""

KEPT_FROM_MM = 2.0
"""Smallest spacing that is kept in the cache, 22 MB at 2 mm; at 1 mm it would be 180 MB."""


@dataclass(frozen=True)
class Template:
    """Tissue probabilities of the average healthy adult.

    Attributes:
        affine: `(4, 4)`, voxel to MNI RAS mm.
        spacing_mm: edge length of a voxel in mm.
        brain: `(D, H, W)` share of brain, CSF included.
        grey: share of grey matter.
        white: share of white matter.
        csf: share of cerebrospinal fluid.
        ventricles: share of CSF that lies deep in the brain.
        deep_grey: share of grey matter that lies deep in the brain.
    """

    affine: np.ndarray
    spacing_mm: float
    brain: np.ndarray
    grey: np.ndarray
    white: np.ndarray
    csf: np.ndarray
    ventricles: np.ndarray
    deep_grey: np.ndarray


@lru_cache(maxsize=4)
def load_template(spacing_mm: float) -> Template:
    """Read and resample the maps (Fonov et al. 2011, as shipped by nilearn); no network.

    Maps at 2 mm and more are kept in the user's cache: importing nilearn and making them takes
    one and a half seconds of CPU time per process.

    Args:
        spacing_mm: edge length of a voxel in mm, 1 or more.
    """
    if spacing_mm < KEPT_FROM_MM:
        return Template(spacing_mm=spacing_mm, **_maps(spacing_mm))
    name = f"template-{VERSION}-{float(spacing_mm)}mm"
    return Template(
        spacing_mm=spacing_mm, **kept_arrays(name, "nilearn", lambda: _maps(spacing_mm))
    )


def _maps(spacing_mm: float) -> dict[str, np.ndarray]:
    from nilearn import datasets

    brain_image = datasets.load_mni152_brain_mask(resolution=1)
    brain = brain_image.get_fdata(dtype=np.float32)
    grey = datasets.load_mni152_gm_template(resolution=1).get_fdata(dtype=np.float32) * brain
    white = datasets.load_mni152_wm_template(resolution=1).get_fdata(dtype=np.float32) * brain
    csf = np.clip(brain - grey - white, 0, 1)
    depth = ndimage.distance_transform_edt(brain > 0.5)
    deep = np.clip((depth - 18) / 6, 0, 1).astype(np.float32)
    # Sulci reach deep as well, but only near the midline: there the ventricles are the larger part.
    maps = (brain, grey, white, csf, csf * deep, grey * deep)
    shape = tuple(int(size // spacing_mm) for size in SIZE_MM)
    inside = np.argwhere(brain > 0.5)
    middle = (inside.min(axis=0) + inside.max(axis=0)) / 2
    corner = middle - (np.array(shape) - 1) * spacing_mm / 2
    sampled = [_sample(array, corner, spacing_mm, shape) for array in maps]
    affine = brain_image.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ corner
    affine[:3, :3] *= spacing_mm
    names = ("brain", "grey", "white", "csf", "ventricles", "deep_grey")
    return {"affine": affine, **dict(zip(names, sampled, strict=True))}


def _sample(
    array: np.ndarray, corner: np.ndarray, spacing_mm: float, shape: tuple[int, ...]
) -> np.ndarray:
    # The box of a coarse voxel is averaged, as a scanner does.
    if spacing_mm > 1:
        array = ndimage.gaussian_filter(array, np.sqrt(spacing_mm**2 - 1) / 2.355)
    return ndimage.affine_transform(
        array, np.full(3, spacing_mm), corner, shape, order=1, mode="constant"
    ).astype(np.float32)

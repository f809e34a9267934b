"""MNI152 tissue maps at the voxels of a scan, with a check that the scan lies on them."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage

from brainuad.volumes.template import load_template

Atlas = Mapping[str, np.ndarray]
"""Maps of `Template` at the brain's `(N,)` voxels, float32 in [0, 1]."""

TISSUES = ("csf", "grey", "white")
"""Maps of the atlas, in the order of the classes."""

ATLAS_MM = 2.0
"""Voxel size of the atlas; its maps are smooth averages of many people."""

LEAST_PRIOR = 1e-3
"""Smallest prior of a tissue, because registrations are millimetres off."""

LEAST_INSIDE = 0.8
"""Smallest share of a scan's brain inside the atlas's brain, for a scan on the atlas."""

STEP_MM = 10.0
"""Shift for the check: an atlas that explains a scan better after this shift is misplaced."""


def atlas_at(affine: np.ndarray, places: np.ndarray) -> dict[str, np.ndarray]:
    """Return the maps of the atlas at voxels of a scan, linearly interpolated; 0 outside.

    Args:
        affine: `(4, 4)`, voxels of the scan to MNI RAS mm.
        places: `(N, 3)` voxels.
    """
    template = load_template(ATLAS_MM)
    way = np.linalg.inv(template.affine) @ affine
    at = way[:3, :3] @ places.T + way[:3, 3:]
    names = ("brain", *TISSUES, "deep_grey")
    return {
        name: ndimage.map_coordinates(getattr(template, name), at, np.float32, 1, "constant")
        for name in names
    }


def priors(atlas: Atlas) -> np.ndarray:
    """`(3, N)` float32 in the order of TISSUES, above 0, summing to 1."""
    found = np.stack([atlas[name] for name in TISSUES]) + np.float32(LEAST_PRIOR)
    return found / found.sum(0)


def inside_atlas(affine: np.ndarray, places: np.ndarray) -> bool:
    """Return whether most of a brain lies inside the atlas's brain.

    Args:
        affine: `(4, 4)`, voxels of the scan to MNI RAS mm.
        places: `(N, 3)` voxels of the brain.
    """
    return bool((atlas_at(affine, places)["brain"] > 0.5).mean() >= LEAST_INSIDE)


def on_atlas(affine: np.ndarray, places: np.ndarray, lines: Sequence[np.ndarray]) -> bool:
    """Return whether a scan lies on the atlas, by its brain and its tissue contrasts.

    A failed registration is visible in neither affine nor shape, because brains are egg-shaped in
    any orientation. So the tissue maps must explain the scan (least squares, share of its variance)
    better at their place than after a shift by `STEP_MM` in any of six directions.

    Args:
        affine: `(4, 4)`, voxels of the scan to MNI RAS mm.
        places: `(N, 3)` voxels of the brain.
        lines: `(N,)` intensities of each channel.
    """
    # Fifty thousand voxels are as informative as a million.
    thin = slice(None, None, max(len(places) // 50_000, 1))
    places = places[thin]
    if not inside_atlas(affine, places):
        return False
    here = atlas_at(affine, places)
    moves = STEP_MM * np.concatenate([np.eye(3), -np.eye(3)])
    beside = [atlas_at(_moved(affine, move), places) for move in moves]
    drawn = [np.clip(line[thin], *np.percentile(line, [1, 99])) for line in lines]
    own = _explained(here, drawn)
    return own > max(_explained(atlas, drawn) for atlas in beside)


def _explained(atlas: Atlas, lines: Sequence[np.ndarray]) -> float:
    """Return the share of the variance that a linear model of the tissue maps explains, summed."""
    maps = np.stack([*(atlas[name] for name in TISSUES), np.ones_like(atlas["csf"])], 1)
    total = 0.0
    for line in lines:
        weights = np.linalg.lstsq(maps.astype(float), line.astype(float), rcond=None)[0]
        variance = float(line.var())
        total += 1 - float((line - maps @ weights).var()) / variance if variance > 0 else 0.0
    return total


def _moved(affine: np.ndarray, move: np.ndarray) -> np.ndarray:
    found = affine.copy()
    found[:3, 3] += move
    return found

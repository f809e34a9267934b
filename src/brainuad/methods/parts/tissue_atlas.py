"""The MNI152 tissue maps at the voxels of a scan, and whether the scan lies on them."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage

from brainuad.volumes.template import load_template

Atlas = Mapping[str, np.ndarray]
"""Maps of `Template` at the brain's `(N,)` voxels, float32 in [0, 1]."""

TISSUES = ("csf", "grey", "white")
"""Maps of the atlas, in the order of the classes."""

ATLAS_MM = 2.0
"""Spacing of the atlas: its maps are averages of many people, and smooth."""

LEAST_PRIOR = 1e-3
"""No tissue is impossible anywhere: registrations are millimetres off."""

LEAST_INSIDE = 0.8
"""Share of a scan's brain that lies in the atlas's where the scan lies on the atlas."""

STEP_MM = 10.0
"""An atlas that explains a scan better so far beside its place does not lie where it should."""


def atlas_at(affine: np.ndarray, places: np.ndarray) -> dict[str, np.ndarray]:
    """The maps of the atlas at voxels of a scan, linearly interpolated; 0 outside the atlas.

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
    """Return whether most of a brain lies in the atlas's.

    Args:
        affine: `(4, 4)`, voxels of the scan to MNI RAS mm.
        places: `(N, 3)` voxels of the brain.
    """
    return bool((atlas_at(affine, places)["brain"] > 0.5).mean() >= LEAST_INSIDE)


def on_atlas(affine: np.ndarray, places: np.ndarray, lines: Sequence[np.ndarray]) -> bool:
    """Return whether a scan lies where the atlas does, by its brain and the look of its tissues.

    A registration that failed shows in neither affine nor shape: brains are egg-shaped either way
    round. So the tissue maps have to explain the scan (least squares, share of its variance) better
    at their place than `STEP_MM` to any of its six sides.

    Args:
        affine: `(4, 4)`, voxels of the scan to MNI RAS mm.
        places: `(N, 3)` voxels of the brain.
        lines: `(N,)` intensities of each channel.
    """
    # Fifty thousand voxels tell as much as a million.
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
    """Share of the variance of the lines that a line in the tissue maps explains, summed."""
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

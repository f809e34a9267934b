"""A registration to the atlas, checked by how the brains lie on one another."""

from dataclasses import replace

import numpy as np

from brainuad.preparation.atlas import BrainAtlas
from brainuad.preparation.quality.measures import Limits, measure_prepared
from brainuad.preparation.register.linear import Register, Registration
from brainuad.types import Volume
from brainuad.volumes.resample import resample_like

GRID_MM = 4.0
"""Spacing of the check; it takes a thirtieth of a registration's time."""

LEAST = {"overlap": Limits.overlap, "similarity": 0.5}
"""Limits of `measure_prepared` on the grid of the check, where edges agree better than finer:
of 56 scans one had lost its way and had 0.37; the others had 0.63 or more."""

BETTER = 0.1
"""Smallest growth of overlap plus similarity for which another registration is taken."""


def mended(
    found: Registration, by: Register, atlas: BrainAtlas, moving: Volume, inside: np.ndarray
) -> Registration:
    """The registration as it is where it passes the check, else the best of further ones.

    Further ones are a careful registration, and a similarity where an affine was asked for. The
    given one stays unless another is clearly better.

    Args:
        found: result of `by`.
        by: the registration.
        atlas: atlas that `moving` is registered to.
        moving: RAS axes, brain-extracted.
        inside: `(D, H, W)` bool, the brain on the grid of `moving`.
    """
    best, fit = found, measure_fit(found.matrix, atlas, moving, inside)
    ways = {"from every start with short first steps": by}
    if by.kind == "affine":
        ways["with one scale for all axes"] = replace(by, kind="similarity")
    for said, way in ways.items():
        if _passes(fit):
            break
        try:
            other = way(atlas.image, moving, atlas.brain_mask, careful=True)
        except ValueError:
            continue
        other_fit = measure_fit(other.matrix, atlas, moving, inside)
        if sum(other_fit.values()) > sum(fit.values()) + BETTER:
            change = ", ".join(f"{name} {fit[name]:.2f} to {other_fit[name]:.2f}" for name in fit)
            best, fit = other._replace(again=f"done again {said}: {change}"), other_fit
    return best


def measure_fit(
    matrix: np.ndarray, atlas: BrainAtlas, moving: Volume, inside: np.ndarray
) -> dict[str, float]:
    """`overlap` and `similarity` of `measure_prepared`, on a coarse grid.

    Args:
        matrix: `(4, 4)`, the atlas's world to that of `moving`, RAS mm.
        atlas: atlas that `moving` is registered to.
        moving: RAS axes, brain-extracted.
        inside: `(D, H, W)` bool, the brain on the grid of `moving`.
    """
    steps = GRID_MM / np.array(atlas.image.spacing_mm)
    shape = np.ceil(np.array(atlas.image.array.shape) / steps).astype(int)
    coarse = Volume(np.zeros(shape, np.float32), atlas.image.affine @ np.diag([*steps, 1.0]))
    laid = np.linalg.inv(matrix) @ moving.affine
    image = resample_like(moving.array, laid, coarse)
    brain = resample_like(inside.astype(np.float32), laid, coarse) >= 0.5
    found = measure_prepared(image, brain, atlas, coarse)
    return {name: found[name] for name in LEAST}


def _passes(fit: dict[str, float]) -> bool:
    return all(fit[name] >= least for name, least in LEAST.items())

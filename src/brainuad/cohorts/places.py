"""The common grid of prepared scans, by their affines, for methods that learn places."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from brainuad.cohorts.manifest import Scan
from brainuad.errors import InputError
from brainuad.machine.limits import require_memory
from brainuad.volumes.grids import EXACT, Grid, lay, share_outside, united
from brainuad.volumes.header import read_header
from brainuad.volumes.nifti import read_mask
from brainuad.volumes.overlap import ASTRAY, CELL_MM, CERTAIN, cells_of, overlaps, some

LOST = 0.02
"""Share of a brain outside a grid from which on it does not lie there."""


def shared_grid(scans: Sequence[Scan]) -> tuple[Grid | None, str]:
    """The grid that scans are on or, where they are on several of one world, one that covers them.

    Affines align the scans; the overlap of the brains shows whether they share a world.

    Args:
        scans: prepared; those that cannot be read do not count.

    Returns:
        None where there is none, and what was found, in words; empty where all are on one grid.
    """
    known = [(scan, grid) for scan in scans if (grid := grid_of_file(scan.image)) is not None]
    if not known:
        return None, "no scan can be read"
    first = known[0][1]
    if all(grid.apart(first) <= EXACT for _, grid in known):
        return first, ""
    edge = max(CELL_MM, *(max(grid.empty.spacing_mm) for _, grid in known))
    brains, grids = [], []
    for scan, grid in some(known):
        try:
            brain_mask = read_mask(scan.brain_mask, like=grid.empty)
        except InputError:
            # Listed with the scans that failed, when it is read to be trained on.
            continue
        brains.append(cells_of(brain_mask, grid.affine, edge))
        grids.append(grid)
    alike = overlaps(brains) if len(brains) > 1 else np.zeros(len(brains))
    median = float(np.median(alike)) if len(alike) else 0.0
    said = f"{len(known)} training scans lie on several grids, and their brains overlap by"
    if median < CERTAIN:
        return None, f"{said} {median:.2f}, those of registered scans by {CERTAIN} or more"
    found = united([one for one, own in zip(grids, alike, strict=True) if own >= ASTRAY])
    require_memory(16 * float(np.prod(found.shape)), scans[0].image.parent, "use one grid")
    laid_on = f"laid on one of {found.words} voxels by their affines"
    return found, f"{said} {median:.2f}: they are {laid_on}"


def grid_of_file(path: Path) -> Grid | None:
    """Return the grid of a NIfTI file; None if it cannot be read, which raises an error later."""
    try:
        header = read_header(path)
        shape = header.image.shape
    except Exception:
        return None
    return Grid(tuple(shape), header.affine) if len(shape) == 3 else None


def laid(
    image: torch.Tensor, brain_mask: torch.Tensor, affine: np.ndarray, grid: Grid
) -> tuple[torch.Tensor, torch.Tensor]:
    """A scan on another grid of its world.

    Args:
        image: `(C, D, H, W)`, 0 outside the brain.
        brain_mask: `(1, D, H, W)` bool.
        affine: `(4, 4)`, its voxels to world in mm.
        grid: target grid.

    Returns:
        Both on that grid; `brain_mask` where at least half of a voxel is brain.

    Raises:
        InputError: a part of the brain lies outside the grid.
    """
    lost = share_outside(brain_mask[0].numpy(), affine, grid)
    if lost > LOST:
        raise InputError(
            f"{lost:.0%} of its brain lies outside the grid of the training scans ({grid.words} "
            "voxels): it lies elsewhere in the world than they do; register it as they were"
        )
    inside = lay(brain_mask[0].numpy().astype(np.float32), affine, grid)
    mask = torch.from_numpy(inside >= 0.5)[None]
    channels = [torch.from_numpy(lay(channel, affine, grid)) for channel in image.numpy()]
    return torch.where(mask, torch.stack(channels), 0), mask


def as_plain(grid: Grid) -> dict[str, Any]:
    """A grid for a model's card."""
    return {"shape": [int(n) for n in grid.shape], "affine": np.asarray(grid.affine).tolist()}


def from_plain(values: dict[str, Any]) -> Grid:
    """The grid of `as_plain`."""
    return Grid(tuple(values["shape"]), np.array(values["affine"], dtype=float))

"""Overlap of brains in the world, which distinguishes registered scans from others."""

from collections.abc import Sequence
from itertools import combinations
from typing import TypeVar

import numpy as np
from nibabel.affines import apply_affine

CELL_MM = 4.0
"""Smallest edge of the cells that brains are compared in."""

LIKELY = 0.75
"""Least median overlap of the brains of scans that say that they share a space, by one grid or by
their headers. Rigidly registered tumour cases have 0.76 to 0.90, affinely registered brains 0.95 to
0.97 (45 T1w heads); scans as they came 0.71 (30 heads of IXI) and 0.76 (5 patients), 0.81 (15
elderly people), 0.84 where all were cut to 256 mm around the head."""

CERTAIN = 0.88
"""The same for scans that do not state it; unregistered scans do not reach it."""

ASTRAY = 0.5
"""A brain that overlaps less with the others does not lie where they do."""

MOST = 64
"""Scans that are compared; of more every second, every third, … ."""

T = TypeVar("T")

_ROOM = 2**20
"""Cells on either side of the origin."""


def cells_of(brain_mask: np.ndarray, affine: np.ndarray, edge_mm: float) -> np.ndarray:
    """Return the numbers of the cells of the world that are at least half brain.

    Args:
        brain_mask: `(D, H, W)` bool.
        affine: `(4, 4)`, voxel to world in mm.
        edge_mm: edge length of a cell; no smaller than a voxel's longest edge, or cells stay empty.
    """
    points = apply_affine(affine, np.argwhere(brain_mask))
    index = np.clip(np.floor(points / edge_mm), -_ROOM, _ROOM - 1).astype(np.int64) + _ROOM
    numbers = (index[:, 0] << 42) | (index[:, 1] << 21) | index[:, 2]
    cells, count = np.unique(numbers, return_counts=True)
    return cells[count * abs(np.linalg.det(affine[:3, :3])) >= edge_mm**3 / 2]


def overlaps(brains: Sequence[np.ndarray]) -> np.ndarray:
    """Return for each brain the median Dice coefficient with the others.

    Args:
        brains: results of `cells_of`, two or more, with one `edge_mm`.
    """
    dice = np.full((len(brains), len(brains)), np.nan)
    for (i, one), (j, other) in combinations(enumerate(brains), 2):
        common = len(np.intersect1d(one, other, assume_unique=True))
        dice[i, j] = dice[j, i] = 2 * common / max(len(one) + len(other), 1)
    return np.nanmedian(dice, axis=1)


def some(items: Sequence[T]) -> Sequence[T]:
    """Return at most `MOST` of the items, spread evenly over them."""
    return items[:: -(-len(items) // MOST) or 1]

"""Boxes and balls of voxels."""

from collections.abc import Sequence

import numpy as np

from brainuad.volumes.regions import box_of


def brain_box(brain_mask: np.ndarray, margin: Sequence[int]) -> tuple[slice, ...]:
    """Return the smallest box around a mask with a margin, within the array.

    Args:
        brain_mask: `(D, H, W)` bool; the box of an empty mask is the whole array.
        margin: voxels along each axis.
    """
    if not brain_mask.any():
        return tuple(slice(0, size) for size in brain_mask.shape)
    return box_of(brain_mask, margin)


def ball(radius_mm: float, spacing_mm: Sequence[float]) -> np.ndarray:
    """Return a ball as `(2a + 1, 2b + 1, 2c + 1)` bool: voxels whose centre is within a radius.

    Args:
        radius_mm: radius in mm; 0 gives the central voxel alone.
        spacing_mm: edge lengths of a voxel in mm.
    """
    reach = [int(radius_mm / edge + 1e-6) for edge in spacing_mm]
    axes = (np.arange(-n, n + 1) * edge for n, edge in zip(reach, spacing_mm, strict=True))
    grid = np.meshgrid(*axes, indexing="ij")
    return np.asarray(sum(axis**2 for axis in grid) <= radius_mm**2 + 1e-6)

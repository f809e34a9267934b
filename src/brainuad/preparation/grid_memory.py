"""Memory of the prepared grid, per scan."""

import numpy as np

from brainuad.machine.limits import require_memory

VOXEL_BYTES = 16
"""Bytes per voxel of the prepared grid that a preparation holds at once: image, masks, copies."""


def require_grid(edges_mm: np.ndarray, spacing_mm: float, margin_mm: float) -> None:
    """Refuse a grid that does not fit into the memory at hand.

    Args:
        edges_mm: `(3,)`, extent in mm of what the grid is laid around.
        spacing_mm: edge length of its voxels in mm.
        margin_mm: room on both sides in mm.

    Raises:
        InputError: it does not fit.
    """
    voxels = float(np.prod((edges_mm + 2 * margin_mm) / spacing_mm + 4))
    what = f"spacing_mm {spacing_mm:g} and margin_mm {margin_mm:g}"
    require_memory(VOXEL_BYTES * voxels, what, "choose larger voxels or a smaller margin")

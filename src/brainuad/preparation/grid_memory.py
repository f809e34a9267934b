"""Memory of the prepared grid, looked at before the first scan is prepared."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from brainuad.cohorts.scans import RawScan
from brainuad.machine.limits import require_memory
from brainuad.volumes.header import read_header

if TYPE_CHECKING:
    from brainuad.preparation.pipeline import Preparation
    from brainuad.preparation.slices import SlicePreparation

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


def require_grids(raw: Sequence[RawScan], steps: "Preparation | SlicePreparation") -> None:
    """Refuse a preparation that cannot hold the grid of any of these scans.

    A single scan that is too large fails alone, later.

    Args:
        raw: scans to prepare; those without a NIfTI header that can be read are passed over.
        steps: of the preparation; that of 2D images takes no such memory.

    Raises:
        InputError: the grid does not fit.
    """
    from brainuad.preparation.pipeline import Preparation

    if not isinstance(steps, Preparation) or steps.shared:
        return
    atlas = steps.load_atlas()
    if atlas is not None:
        image = atlas.image
        whole = np.array(image.array.shape) * image.spacing_mm
        require_grid(whole, steps.spacing_mm, steps.margin_mm)
        return
    found = [edges for scan in raw if (edges := _edges_mm(scan)) is not None]
    if found:
        least = min(found, key=lambda edges: float(np.prod(edges)))
        require_grid(least, steps.spacing_mm, steps.margin_mm)


def _edges_mm(scan: RawScan) -> np.ndarray | None:
    """Extent of a scan per axis, as its header tells it."""
    try:
        header = read_header(scan.image)
    except Exception:
        return None  # said when the scan is read
    if len(header.image.shape) < 3:
        return None
    size = np.linalg.norm(header.affine[:3, :3], axis=0)
    edges: np.ndarray = np.array(header.image.shape[:3]) * size
    return edges

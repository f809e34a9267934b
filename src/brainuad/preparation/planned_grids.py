"""Memory of the prepared grids of a cohort, looked at before the first scan is prepared."""

from collections.abc import Sequence

import numpy as np

from brainuad.cohorts.scans import RawScan
from brainuad.preparation.grid_memory import require_grid
from brainuad.preparation.pipeline import Preparation
from brainuad.preparation.slices import SlicePreparation
from brainuad.volumes.header import read_header


def require_grids(raw: Sequence[RawScan], steps: Preparation | SlicePreparation) -> None:
    """Refuse a preparation that cannot hold the grid of any of these scans.

    A single scan that is too large fails alone, later.

    Args:
        raw: scans to prepare; those without a NIfTI header that can be read are passed over.
        steps: steps of the preparation; one of 2D images takes no such memory.

    Raises:
        InputError: the grid does not fit.
    """
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
    """Return the extent of a scan per axis, from its header."""
    try:
        header = read_header(scan.image)
    except Exception:
        return None  # said when the scan is read
    if len(header.image.shape) < 3:
        return None
    size = np.linalg.norm(header.affine[:3, :3], axis=0)
    edges: np.ndarray = np.array(header.image.shape[:3]) * size
    return edges

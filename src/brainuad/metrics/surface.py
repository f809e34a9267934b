"""Distances between the surfaces of two masks, in mm (docs/explanation/protocol.md#3-metrics)."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree


def surface_distances(
    segmentation: np.ndarray, truth: np.ndarray, spacing_mm: tuple[float, float, float]
) -> tuple[float, float]:
    """Return the 95th percentile Hausdorff and the average symmetric surface distance.

    A surface voxel has a face neighbour outside its mask; in one plane, along the plane. HD95 is
    the larger of the two directed 95th percentiles; ASSD the mean over both surfaces' voxels
    together.

    Args:
        segmentation: `(D, H, W)` bool.
        truth: `(D, H, W)` bool.
        spacing_mm: edge lengths of a voxel in mm.

    Returns:
        `hd95_mm`, `assd_mm`; NaN twice when either mask is empty.
    """
    if not segmentation.any() or not truth.any():
        return float("nan"), float("nan")
    # Distances between two sets do not depend on the space around them.
    box = ndimage.find_objects((segmentation | truth).astype(np.uint8))[0]
    wide = [axis for axis, size in enumerate(truth.shape) if size > 1]
    found, true = (
        _surface(mask[box], wide) * np.array(spacing_mm) for mask in (segmentation, truth)
    )
    # A k-d tree of the few surface voxels is several times faster than two distance transforms.
    there, back = (
        cKDTree(other).query(points, workers=-1)[0]
        for points, other in ((found, true), (true, found))
    )
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    return float(hd95), float(np.concatenate([there, back]).mean())


def _surface(mask: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """Return the indices `(N, 3)` of voxels with a face neighbour outside along these axes."""
    padded = np.pad(mask, 1)
    inner = padded.copy()
    for axis in axes:
        inner &= np.roll(padded, 1, axis) & np.roll(padded, -1, axis)
    return np.argwhere(padded & ~inner)

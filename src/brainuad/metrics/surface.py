"""Distances between the surfaces of two masks, in mm (PROTOCOL section 3)."""

import numpy as np
from scipy import ndimage


def surface_distances(
    segmentation: np.ndarray, truth: np.ndarray, spacing_mm: tuple[float, float, float]
) -> tuple[float, float]:
    """The 95th percentile Hausdorff distance and the average symmetric surface distance.

    A surface voxel has a face neighbour outside its mask. HD95 is the larger of the two directed
    95th percentiles; ASSD the mean over both surfaces' voxels together.

    Args:
        segmentation: `(D, H, W)` bool.
        truth: `(D, H, W)` bool.
        spacing_mm: edge lengths of a voxel in mm.

    Returns:
        `hd95_mm`, `assd_mm`; NaN twice when either mask is empty.
    """
    if not segmentation.any() or not truth.any():
        return float("nan"), float("nan")
    # Distances between two sets do not depend on what lies around both.
    box = ndimage.find_objects((segmentation | truth).astype(np.uint8))[0]
    surfaces = [_surface(np.pad(mask[box], 1)) for mask in (segmentation, truth)]
    to_found, to_true = (
        ndimage.distance_transform_edt(~surface, sampling=spacing_mm) for surface in surfaces
    )
    there, back = to_true[surfaces[0]], to_found[surfaces[1]]
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    return float(hd95), float(np.concatenate([there, back]).mean())


def _surface(mask: np.ndarray) -> np.ndarray:
    return mask & ~ndimage.binary_erosion(mask)

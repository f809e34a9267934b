"""Erosion of the brain mask."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from brainuad.postprocess.box import brain_box
from brainuad.postprocess.smooth import AXIAL, Spacing


@dataclass(frozen=True)
class ErodeBrainMask:
    """Sets the map near the brain's surface to 0, where every reconstruction is poor.

    In one plane the surface is the rim in that plane.

    Args:
        radius_mm: largest distance of a cleared voxel from a voxel outside, in mm.
    """

    radius_mm: float

    def __call__(
        self, anomaly_map: np.ndarray, brain_mask: np.ndarray, spacing_mm: Spacing
    ) -> np.ndarray:
        """`(D, H, W)` float32 map, bool mask and voxel size in mm to the cleared map."""
        # The nearest voxel outside is at most one layer away from the brain's box. The padding
        # puts voxels outside around a mask that touches the edge of the array.
        box = brain_box(brain_mask, (0, 0, 0))
        layers = [(int(size > 1),) * 2 for size in brain_mask.shape]
        padded = np.pad(brain_mask[box], layers)
        inner = tuple(slice(n, size - n) for (n, _), size in zip(layers, padded.shape, strict=True))
        depth = ndimage.distance_transform_edt(padded, sampling=spacing_mm)[inner]
        found = np.zeros(anomaly_map.shape, np.float32)
        found[box] = np.where(depth > self.radius_mm, anomaly_map[box], 0)
        return found


@dataclass(frozen=True)
class ErodeSlices:
    """Sets the map near the brain's rim to 0, slice by slice.

    Args:
        radius_mm: width of the cleared rim in mm, along the axes of the axial plane.
        square_share: None repeats a cross of one pixel, as pDDPM does. A share in [0, 1) keeps a
            pixel where more than this share of the square of that radius around it is brain. The
            code of the denoising autoencoder uses 0.95 (`src/denoising.py:49`), which is 24 of 25
            pixels. Pixels outside the array are no brain.
    """

    radius_mm: float
    square_share: float | None = None

    def __call__(
        self, anomaly_map: np.ndarray, brain_mask: np.ndarray, spacing_mm: Spacing
    ) -> np.ndarray:
        """`(D, H, W)` float32 map, bool mask and voxel size in mm to the cleared map."""
        steps = round(self.radius_mm / min(np.delete(np.array(spacing_mm), AXIAL)))
        if self.square_share is None:
            inside = _by_cross(brain_mask, steps)
        else:
            size = np.full(3, 2 * steps + 1)
            size[AXIAL] = 1
            share = ndimage.uniform_filter(brain_mask.astype(np.float64), size, mode="constant")
            inside = brain_mask & (share > self.square_share)
        return np.where(inside, anomaly_map, 0).astype(np.float32)


def _by_cross(brain_mask: np.ndarray, steps: int) -> np.ndarray:
    cross = np.zeros((3, 3, 3), bool)
    cross[:, 1, 1] = cross[1, :, 1] = True
    # For scipy 0 repetitions mean: repeat until nothing changes.
    return ndimage.binary_erosion(brain_mask, cross, steps) if steps else brain_mask

"""Where a map may speak at all."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from brainuad.postprocess.smooth import Spacing


@dataclass(frozen=True)
class ErodeBrainMask:
    """Clears the map near the brain's surface, where every reconstruction is poor.

    Args:
        radius_mm: voxels whose centre is at most so far from a voxel outside are cleared.
    """

    radius_mm: float

    def __call__(
        self, anomaly_map: np.ndarray, brain_mask: np.ndarray, spacing_mm: Spacing
    ) -> np.ndarray:
        """`(D, H, W)` float32 map, bool mask and voxel size in mm to the cleared map."""
        # The padding makes the edge of the array an outside, where a mask touches it.
        padded = np.pad(brain_mask, 1)
        depth = ndimage.distance_transform_edt(padded, sampling=spacing_mm)[1:-1, 1:-1, 1:-1]
        return np.where(depth > self.radius_mm, anomaly_map, 0).astype(np.float32)

"""Steps on the binary segmentation."""

from dataclasses import dataclass

import cc3d
import numpy as np

from brainuad.postprocess.smooth import Spacing


@dataclass(frozen=True)
class RemoveSmall:
    """Removes connected components (26-neighbourhood) below a volume.

    Args:
        min_volume_mm3: the smallest volume that stays.
    """

    min_volume_mm3: float

    def __call__(
        self, segmentation: np.ndarray, brain_mask: np.ndarray, spacing_mm: Spacing
    ) -> np.ndarray:
        """`(D, H, W)` bool, the brain mask and voxel size in mm to bool."""
        voxels = int(np.ceil(self.min_volume_mm3 / np.prod(spacing_mm) - 1e-6))
        if voxels <= 1:
            return segmentation
        # dust keeps components of at least the threshold.
        return cc3d.dust(segmentation, threshold=voxels, connectivity=26).astype(bool)

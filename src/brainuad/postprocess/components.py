"""Steps on the binary segmentation."""

from dataclasses import dataclass
from typing import Literal

import cc3d
import numpy as np
from scipy import ndimage

from brainuad.postprocess.box import ball
from brainuad.postprocess.smooth import AXIAL, Spacing


@dataclass(frozen=True)
class RemoveSmall:
    """Removes connected components below a volume; with 6 neighbours, an area opening in 3D.

    Args:
        min_volume_mm3: the smallest volume that stays.
        connectivity: 6 (faces), 18 (edges too) or 26 (corners too).
        filled: a component's volume includes the holes in it, as `area_filled` of scikit-image. A
            hole is what the component separates from the outside even across corners, so that the
            smallest takes 26 voxels around it.
    """

    min_volume_mm3: float
    connectivity: Literal[6, 18, 26] = 26
    filled: bool = False

    def __call__(
        self, segmentation: np.ndarray, brain_mask: np.ndarray, spacing_mm: Spacing
    ) -> np.ndarray:
        """`(D, H, W)` bool, the brain mask and voxel size in mm to bool."""
        voxels = int(np.ceil(self.min_volume_mm3 / np.prod(spacing_mm) - 1e-6))
        if voxels <= 1:
            return segmentation
        if self.filled:
            return self._by_filled_volume(segmentation, voxels)
        # dust keeps components of at least the threshold.
        return cc3d.dust(segmentation, threshold=voxels, connectivity=self.connectivity).astype(
            bool
        )

    def _by_filled_volume(self, segmentation: np.ndarray, voxels: int) -> np.ndarray:
        kept = segmentation.copy()
        labels = cc3d.connected_components(segmentation, connectivity=self.connectivity)
        count = np.bincount(labels.ravel())
        for label, box in enumerate(ndimage.find_objects(labels), start=1):
            if count[label] >= voxels:
                continue
            component = labels[box] == label
            if ndimage.binary_fill_holes(component, np.ones((3, 3, 3))).sum() < voxels:
                kept[box][component] = False
        return kept


@dataclass(frozen=True)
class FillHoles:
    """Fills what a segmentation encloses, in 3D, inside the brain."""

    def __call__(
        self, segmentation: np.ndarray, brain_mask: np.ndarray, spacing_mm: Spacing
    ) -> np.ndarray:
        """`(D, H, W)` bool, the brain mask and voxel size in mm to bool."""
        return ndimage.binary_fill_holes(segmentation) & brain_mask


@dataclass(frozen=True)
class Opening:
    """Morphological opening with a ball: removes what no such ball fits into.

    Args:
        radius_mm: of the ball.
    """

    radius_mm: float

    def __call__(
        self, segmentation: np.ndarray, brain_mask: np.ndarray, spacing_mm: Spacing
    ) -> np.ndarray:
        """`(D, H, W)` bool, the brain mask and voxel size in mm to bool."""
        return ndimage.binary_opening(segmentation, ball(self.radius_mm, spacing_mm))


@dataclass(frozen=True)
class AreaOpening:
    """Removes components (4-neighbourhood) below an area, slice by slice, as StRegA does.

    Args:
        min_area_mm2: the smallest area that stays.
        axis: of the array that a slice fixes; 2 for axial slices.
    """

    min_area_mm2: float
    axis: int = AXIAL

    def __call__(
        self, segmentation: np.ndarray, brain_mask: np.ndarray, spacing_mm: Spacing
    ) -> np.ndarray:
        """`(D, H, W)` bool, the brain mask and voxel size in mm to bool."""
        area = np.prod(np.delete(np.array(spacing_mm), self.axis))
        pixels = int(np.ceil(self.min_area_mm2 / area - 1e-6))
        if pixels <= 1:
            return segmentation
        slices = np.moveaxis(segmentation, self.axis, 0)
        kept = [cc3d.dust(piece, threshold=pixels, connectivity=4) for piece in slices]
        return np.moveaxis(np.stack(kept), 0, self.axis).astype(bool)

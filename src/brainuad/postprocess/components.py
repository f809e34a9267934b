"""Steps on the binary segmentation."""

from dataclasses import dataclass
from typing import Literal

import cc3d
import numpy as np
from scipy import ndimage

from brainuad.postprocess.box import ball
from brainuad.postprocess.smooth import AXIAL, Spacing
from brainuad.volumes.planes import filled, in_plane


@dataclass(frozen=True)
class RemoveSmall:
    """Remove connected components below a volume; with 6 neighbours, an area opening in 3D.

    For one plane of unknown thickness, the limit is the area of the largest cut through a ball of
    that volume: 16.4 mm² for 50 mm³.

    Args:
        min_volume_mm3: the smallest volume that stays.
        connectivity: 6 (faces), 18 (edges too) or 26 (corners too).
        filled: whether a component's volume includes its cavities, as `area_filled` of
            scikit-image. A cavity is separated from the outside even across corners, so the
            smallest one needs 26 voxels around it.
    """

    min_volume_mm3: float
    connectivity: Literal[6, 18, 26] = 26
    filled: bool = False

    def __call__(
        self, segmentation: np.ndarray, brain_mask: np.ndarray, spacing_mm: Spacing
    ) -> np.ndarray:
        """`(D, H, W)` bool, the brain mask and voxel size in mm to bool."""
        voxels = _fewest(self.min_volume_mm3, spacing_mm, segmentation.shape)
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
        corners = in_plane(np.ones((3, 3, 3), bool), segmentation.shape)
        for label, box in enumerate(ndimage.find_objects(labels), start=1):
            if count[label] >= voxels:
                continue
            component = labels[box] == label
            if ndimage.binary_fill_holes(component, corners).sum() < voxels:
                kept[box][component] = False
        return kept


@dataclass(frozen=True)
class FillHoles:
    """Fill the cavities of a segmentation in the brain, in 3D or in a single plane."""

    def __call__(
        self, segmentation: np.ndarray, brain_mask: np.ndarray, spacing_mm: Spacing
    ) -> np.ndarray:
        """`(D, H, W)` bool, the brain mask and voxel size in mm to bool."""
        return filled(segmentation) & brain_mask


@dataclass(frozen=True)
class Opening:
    """Apply a morphological opening with a ball, in one plane with a disc, to remove thin parts.

    Args:
        radius_mm: radius of the ball.
    """

    radius_mm: float

    def __call__(
        self, segmentation: np.ndarray, brain_mask: np.ndarray, spacing_mm: Spacing
    ) -> np.ndarray:
        """`(D, H, W)` bool, the brain mask and voxel size in mm to bool."""
        element = in_plane(ball(self.radius_mm, spacing_mm), segmentation.shape)
        return ndimage.binary_opening(segmentation, element)


@dataclass(frozen=True)
class AreaOpening:
    """Remove components (4-neighbourhood) below an area, slice by slice, as StRegA does.

    Args:
        min_area_mm2: the smallest area that stays.
        axis: axis of the array that a slice fixes; 2 for axial slices.
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


def _fewest(volume_mm3: float, spacing_mm: Spacing, shape: tuple[int, ...]) -> int:
    """Return the voxels of a volume, or the pixels of the largest cut through a ball of it."""
    if 1 not in shape:
        return int(np.ceil(volume_mm3 / np.prod(spacing_mm) - 1e-6))
    area = np.pi * (3 * volume_mm3 / (4 * np.pi)) ** (2 / 3)
    edges = [edge for edge, size in zip(spacing_mm, shape, strict=True) if size > 1]
    return int(np.ceil(area / np.prod(edges) - 1e-6))

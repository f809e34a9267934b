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
    """Removal of connected components below a volume; with 6 neighbours, an area opening in 3D.

    In one plane of unknown thickness the limit is the area of the largest cut through a ball of
    that volume: 16.4 mm² for 50 mm³.

    Args:
        min_volume_mm3: smallest volume that stays, in mm³.
        connectivity: 6 (faces), 18 (edges too) or 26 (corners too).
        filled: True counts the holes of a component as its volume, as `area_filled` of
            scikit-image. Holes are separated from the outside across corners too, so that the
            smallest has 26 voxels around it.
    """

    min_volume_mm3: float
    connectivity: Literal[6, 18, 26] = 26
    filled: bool = False

    def __call__(
        self, segmentation: np.ndarray, brain_mask: np.ndarray, spacing_mm: Spacing
    ) -> np.ndarray:
        """Return the `(D, H, W)` mask after this step."""
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
    """Filling of the holes that a mask encloses, in 3D or in its one plane, within the brain."""

    def __call__(
        self, segmentation: np.ndarray, brain_mask: np.ndarray, spacing_mm: Spacing
    ) -> np.ndarray:
        """Return the `(D, H, W)` mask after this step."""
        return filled(segmentation) & brain_mask


@dataclass(frozen=True)
class Opening:
    """Morphological opening with a ball, or with a disc in one plane.

    Args:
        radius_mm: radius of the ball in mm.
    """

    radius_mm: float

    def __call__(
        self, segmentation: np.ndarray, brain_mask: np.ndarray, spacing_mm: Spacing
    ) -> np.ndarray:
        """Return the `(D, H, W)` mask after this step."""
        element = in_plane(ball(self.radius_mm, spacing_mm), segmentation.shape)
        return ndimage.binary_opening(segmentation, element)


@dataclass(frozen=True)
class AreaOpening:
    """Removal of components (4 neighbours) below an area, slice by slice, as in StRegA.

    Args:
        min_area_mm2: smallest area that stays, in mm².
        axis: axis normal to the slices; 2 for axial slices.
    """

    min_area_mm2: float
    axis: int = AXIAL

    def __call__(
        self, segmentation: np.ndarray, brain_mask: np.ndarray, spacing_mm: Spacing
    ) -> np.ndarray:
        """Return the `(D, H, W)` mask after this step."""
        area = np.prod(np.delete(np.array(spacing_mm), self.axis))
        pixels = int(np.ceil(self.min_area_mm2 / area - 1e-6))
        if pixels <= 1:
            return segmentation
        slices = np.moveaxis(segmentation, self.axis, 0)
        kept = [cc3d.dust(piece, threshold=pixels, connectivity=4) for piece in slices]
        return np.moveaxis(np.stack(kept), 0, self.axis).astype(bool)


def _fewest(volume_mm3: float, spacing_mm: Spacing, shape: tuple[int, ...]) -> int:
    """Return the voxels of a volume, or in one plane the pixels of the largest cut of its ball."""
    if 1 not in shape:
        return int(np.ceil(volume_mm3 / np.prod(spacing_mm) - 1e-6))
    area = np.pi * (3 * volume_mm3 / (4 * np.pi)) ** (2 / 3)
    edges = [edge for edge, size in zip(spacing_mm, shape, strict=True) if size > 1]
    return int(np.ceil(area / np.prod(edges) - 1e-6))

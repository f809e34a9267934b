"""Smoothing of the anomaly map inside the brain; sizes in mm."""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from brainuad.postprocess.box import brain_box

Spacing = tuple[float, float, float]

AXIAL = 2
"""Axis normal to axial slices: volumes are RAS."""


@dataclass(frozen=True)
class Gaussian:
    """Gaussian smoothing.

    Args:
        sigma_mm: standard deviation in mm.
        normalise: True divides by the smoothed brain mask, so that the rim is not dimmed; False is
            the plain filter of the papers' scripts, mirrored at the array's edge.
        in_plane: True smooths each axial slice by itself, as 2D methods do.
    """

    sigma_mm: float
    normalise: bool = True
    in_plane: bool = False

    def __call__(
        self, anomaly_map: np.ndarray, brain_mask: np.ndarray, spacing_mm: Spacing
    ) -> np.ndarray:
        """`(D, H, W)` float32 map, bool mask and voxel size in mm to the smoothed map."""
        # One plane is not smoothed across.
        sizes = zip(spacing_mm, brain_mask.shape, strict=True)
        sigma = [self.sigma_mm / edge if size > 1 else 0.0 for edge, size in sizes]
        if self.in_plane:
            sigma[AXIAL] = 0
        if not self.normalise:
            smooth = ndimage.gaussian_filter(anomaly_map.astype(np.float32), sigma, mode="reflect")
            return np.where(brain_mask, smooth, 0).astype(np.float32)
        inside = np.where(brain_mask, anomaly_map, 0).astype(np.float32)
        weight = ndimage.gaussian_filter(brain_mask.astype(np.float32), sigma, mode="constant")
        smooth = ndimage.gaussian_filter(inside, sigma, mode="constant")
        return np.where(brain_mask, smooth / np.maximum(weight, 1e-6), 0).astype(np.float32)


@dataclass(frozen=True)
class Median:
    """Median over a box.

    Args:
        size_mm: edge of the box in mm; the window is the nearest odd number of voxels (at
            least 1), so 5 mm are 5 voxels at 1 mm and 3 voxels at 2 mm.
        in_plane: True filters over a square in each axial slice, as 2D methods do.
    """

    size_mm: float
    in_plane: bool = False

    def __call__(
        self, anomaly_map: np.ndarray, brain_mask: np.ndarray, spacing_mm: Spacing
    ) -> np.ndarray:
        """`(D, H, W)` float32 map, bool mask and voxel size in mm to the filtered map."""
        sizes = zip(spacing_mm, brain_mask.shape, strict=True)
        radius = [
            max(round((self.size_mm / edge - 1) / 2), 0) if size > 1 else 0 for edge, size in sizes
        ]
        if self.in_plane:
            radius[AXIAL] = 0
        # Only the windows of brain voxels are filtered. SimpleITK is several times faster than
        # scipy; its axes are reversed. The padding mirrors the array's edge as scipy does, whose
        # median the papers use.
        box = brain_box(brain_mask, radius)
        part = np.asarray(anomaly_map[box], np.float32)
        padded = np.pad(part, [(n, n) for n in radius], "symmetric")
        smooth = sitk.GetArrayFromImage(sitk.Median(sitk.GetImageFromArray(padded), radius[::-1]))
        inner = tuple(slice(n, n + size) for n, size in zip(radius, part.shape, strict=True))
        found = np.zeros(anomaly_map.shape, np.float32)
        found[box] = np.where(brain_mask[box], smooth[inner], 0)
        return found

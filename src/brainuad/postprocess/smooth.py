"""Smoothing of the anomaly map; sizes in mm, nothing leaks out of the brain."""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class Gaussian:
    """Gaussian smoothing, normalised by the smoothed mask, so that the rim is not dimmed.

    Args:
        sigma_mm: standard deviation in mm.
    """

    sigma_mm: float

    def __call__(
        self, anomaly_map: np.ndarray, brain_mask: np.ndarray, spacing_mm: Spacing
    ) -> np.ndarray:
        """`(D, H, W)` float32 map, bool mask and voxel size in mm to the smoothed map."""
        sigma = [self.sigma_mm / edge for edge in spacing_mm]
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
    """

    size_mm: float

    def __call__(
        self, anomaly_map: np.ndarray, brain_mask: np.ndarray, spacing_mm: Spacing
    ) -> np.ndarray:
        """`(D, H, W)` float32 map, bool mask and voxel size in mm to the filtered map."""
        radius = [max(round((self.size_mm / edge - 1) / 2), 0) for edge in spacing_mm]
        # SimpleITK is several times faster than scipy here; its axes are reversed.
        image = sitk.GetImageFromArray(np.asarray(anomaly_map, np.float32))
        smooth = sitk.GetArrayFromImage(sitk.Median(image, radius[::-1]))
        return np.where(brain_mask, smooth, 0).astype(np.float32)

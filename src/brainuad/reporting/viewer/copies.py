"""Copies of a scan's volumes for the screen only: 8 bit, cropped to the head, RAS order."""

import base64
import gzip
from collections.abc import Callable
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from scipy import ndimage
from skimage.measure import block_reduce

from brainuad.postprocess.box import brain_box
from brainuad.types import Volume

MAX_VOXELS = 10_000_000
"""A head at 1 mm has about 6 million; past the limit voxels are averaged in pairs."""

_RIM = 2  # voxels around the head
_AIR = 0.05  # of the window: what is darker around the head is cropped


@dataclass(frozen=True)
class Frame:
    """Part of a scan that is shown, and its resolution.

    Attributes:
        box: box in the scan's array.
        factor: voxels of the scan per voxel of the copy, along each axis.
        affine: `(4, 4)`, voxel of the copy to world mm.
    """

    box: tuple[slice, slice, slice]
    factor: tuple[int, int, int]
    affine: np.ndarray

    def copy(self, array: np.ndarray) -> np.ndarray:
        """Crop an array on the scan's grid and average its blocks, `(D, H, W)` float32."""
        part = np.asarray(array[self.box], dtype=np.float32)
        return part if self.factor == (1, 1, 1) else block_reduce(part, self.factor, _mean)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Edge lengths of a voxel of the copy."""
        d, h, w = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(d), float(h), float(w)


def frame_of(scan: Volume, shown: np.ndarray) -> Frame:
    """Return the head's bounding box, no finer than a screen needs.

    Args:
        scan: the scan, RAS axes.
        shown: `(D, H, W)` bool, voxels that must not be cropped whatever the scan holds there.
    """
    low, high = window(scan.array)
    keep = (scan.array > low + _AIR * (high - low)) | shown
    box = brain_box(keep, (_RIM,) * 3)
    size = np.array([part.stop - part.start for part in box])
    factor = np.ones(3, int)
    while np.prod(np.ceil(size / factor)) > MAX_VOXELS:
        factor[np.argmin(factor * np.asarray(scan.spacing_mm))] *= 2
    # The first voxel of the copy has its centre amid its block.
    to_scan = np.diag([*factor.astype(float), 1.0])
    to_scan[:3, 3] = [part.start + (step - 1) / 2 for part, step in zip(box, factor, strict=True)]
    d, h, w = (int(step) for step in factor)
    return Frame((box[0], box[1], box[2]), (d, h, w), scan.affine @ to_scan)


def window(array: np.ndarray) -> tuple[float, float]:
    """Return the brightness of black and white: the 0.5th and the 99.5th percentile."""
    sample = array.reshape(-1)[:: max(1, array.size // 1_000_000)]
    low, high = (float(value) for value in np.quantile(sample, (0.005, 0.995)))
    return low, high if high > low else low + 1.0


def grey_levels(array: np.ndarray, low: float, high: float) -> tuple[np.ndarray, float, float]:
    """Round to 256 levels from `low` to `high`; return levels, slope and intercept."""
    step = (high - low) / 255
    return np.clip(np.rint((array - low) / step), 0, 255).astype(np.uint8), step, low


def score_levels(array: np.ndarray, threshold: float | None) -> tuple[np.ndarray, float]:
    """Round scores down to 256 levels, one of which is the threshold itself.

    So a copy is at or above the threshold exactly where the map is.

    Args:
        array: scores from 0 up.
        threshold: None when there is none.

    Returns:
        Levels, and the score of level 1.
    """
    top = float(array.max(initial=0.0)) or 1.0
    step = top / 255
    if threshold is not None and threshold > 0:
        step = threshold / np.clip(np.floor(threshold / step), 1, 255)
    levels = np.floor(np.asarray(array, np.float64) / step * (1 + 1e-6))
    return np.clip(levels, 0, 255).astype(np.uint8), step


def outline(mask: np.ndarray) -> np.ndarray:
    """Return the voxels around a mask, so that the tissue below it stays visible."""
    return ndimage.binary_dilation(mask) & ~mask


def encode(levels: np.ndarray, affine: np.ndarray, slope: float = 1.0, inter: float = 0.0) -> str:
    """Return a zipped NIfTI file as base64."""
    image = nib.nifti1.Nifti1Image(levels, affine)
    image.header.set_xyzt_units("mm")
    image.header.set_slope_inter(slope, inter)
    return base64.b64encode(gzip.compress(image.to_bytes(), 6, mtime=0)).decode()


_mean: Callable[..., np.ndarray] = np.mean

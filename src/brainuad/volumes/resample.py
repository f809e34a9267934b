"""Resampling between grids that share their world space."""

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from nibabel.processing import resample_from_to, resample_to_output
from scipy import ndimage

from brainuad.types import Volume
from brainuad.volumes.itk import FLIP, transform_of


def resample_spacing(volume: Volume, spacing_mm: float) -> Volume:
    """Resample to isotropic voxels along the world's RAS axes, linearly.

    Axes that get coarser are smoothed before, with the Gaussian that turns the old voxel's
    width into the new one's (no aliasing, no loss where the grid stays).

    Args:
        volume: RAS axes.
        spacing_mm: edge length of the new voxels in mm.
    """
    spacing = np.asarray(volume.spacing_mm)
    diagonal = np.allclose(np.abs(volume.affine[:3, :3]), np.diag(spacing), atol=1e-4)
    if diagonal and np.allclose(spacing, spacing_mm, atol=1e-4):
        return volume
    smooth = nib.nifti1.Nifti1Image(smoothed(volume, spacing_mm), volume.affine)
    image = resample_to_output(smooth, (spacing_mm,) * 3, order=1)
    return Volume(image.get_fdata(dtype=np.float32), image.affine)


def smoothed(volume: Volume, spacing_mm: float) -> np.ndarray:
    """The array blurred to voxels of this edge length where they are coarser: no aliasing.

    Args:
        volume: whole numbers are taken as float32.
        spacing_mm: edge length of the new voxels in mm.
    """
    spacing = np.asarray(volume.spacing_mm)
    # FWHM of a box of width w is w; 2.355 standard deviations make a Gaussian's FWHM.
    sigma = np.sqrt(np.maximum(spacing_mm**2 - spacing**2, 0)) / 2.355 / spacing
    array = volume.array if volume.array.dtype.kind == "f" else volume.array.astype(np.float32)
    return ndimage.gaussian_filter(array, sigma, mode="nearest")


def resample_like(
    array: np.ndarray,
    affine: np.ndarray,
    like: Volume,
    order: int = 1,
    field: sitk.Image | None = None,
) -> np.ndarray:
    """Resample `array` onto the grid of `like`; outside of it the result is 0.

    Args:
        array: `(D, H, W)`.
        affine: `(4, 4)` of `array`, voxel to the world of `like`, mm.
        like: gives the grid.
        order: 1 linear, 0 nearest neighbour.
        field: warp; the value at `x` in the world of `like` is taken from `x + field(x)`.

    Returns:
        float32 array of the shape of `like`.
    """
    if field is not None:
        return _resample_warped(array, affine, like, order, field)
    if array.shape == like.array.shape and np.allclose(affine, like.affine, atol=1e-6):
        return np.asarray(array, dtype=np.float32)
    image = nib.nifti1.Nifti1Image(np.asarray(array, dtype=np.float32), affine)
    target = (like.array.shape, like.affine)
    return resample_from_to(image, target, order=order, cval=0.0).get_fdata(dtype=np.float32)


def _resample_warped(
    array: np.ndarray, affine: np.ndarray, like: Volume, order: int, field: sitk.Image
) -> np.ndarray:
    """Both grids are bare voxels and their affines part of the transform: sheared ones work too."""
    to_field = transform_of(like.affine @ FLIP)
    from_field = transform_of(FLIP @ np.linalg.inv(affine))
    # The transform takes the field it is given for its own.
    warp = sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T, dtype=np.float32))
    found = sitk.Resample(
        image,
        like.array.shape,
        sitk.CompositeTransform([from_field, warp, to_field]),
        sitk.sitkLinear if order else sitk.sitkNearestNeighbor,
    )
    return np.ascontiguousarray(sitk.GetArrayFromImage(found).T)

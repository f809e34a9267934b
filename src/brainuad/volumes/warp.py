"""Displacement fields of deformable registrations: reading and applying them."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from brainuad.errors import InputError

INVERSE = "_inverse"
"""Between the name of a warp's file and its ending: the inverse's file."""


def displaced(points: np.ndarray, field: sitk.Image) -> np.ndarray:
    """Move points `(N, 3)` in RAS mm by a displacement field, linear between its voxels."""
    mirror = np.array([-1.0, -1.0, 1.0])
    direction = np.array(field.GetDirection()).reshape(3, 3) * np.array(field.GetSpacing())
    voxels = np.linalg.solve(direction, (points * mirror - np.array(field.GetOrigin())).T)
    array = sitk.GetArrayViewFromImage(field).transpose(3, 2, 1, 0)
    moved = [ndimage.map_coordinates(part, voxels, order=1, cval=0.0) for part in array]
    return points + np.stack(moved, axis=-1) * mirror


def inverse_path(path: Path) -> Path:
    """The file of a warp's inverse."""
    return path.with_name(path.name.replace(".nii", f"{INVERSE}.nii", 1))


def read_field(path: Path) -> sitk.Image:
    """Read one displacement field.

    Raises:
        InputError: no such file, damaged, or no field of 3D vectors.
    """
    try:
        field = sitk.ReadImage(path, sitk.sitkVectorFloat64)
    except RuntimeError as error:
        line = str(error).strip().splitlines()[-1]
        raise InputError(f"{path}: not a readable warp ({line}); prepare it again") from None
    if field.GetDimension() != 3 or field.GetNumberOfComponentsPerPixel() != 3:
        raise InputError(f"{path}: not a field of 3D vectors; prepare it again")
    return field

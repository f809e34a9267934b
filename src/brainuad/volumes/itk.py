"""Between our volumes (RAS, first axis first) and SimpleITK's images (LPS, last axis first)."""

import numpy as np
import SimpleITK as sitk

from brainuad.types import Volume

FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
"""RAS mm to LPS mm, and back."""


def to_sitk(volume: Volume) -> sitk.Image:
    """The same image in SimpleITK, world positions kept; sheared affines are not possible there.

    Args:
        volume: `(D, H, W)`, any numeric type of SimpleITK; bool becomes uint8.

    Raises:
        ValueError: the affine is sheared.
    """
    array = volume.array.astype(np.uint8) if volume.array.dtype == bool else volume.array
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose()))
    affine = FLIP @ volume.affine
    spacing = np.array(volume.spacing_mm)
    direction = affine[:3, :3] / spacing
    if not np.allclose(direction.T @ direction, np.eye(3), atol=1e-3):
        raise ValueError("the affine is sheared; resample the scan to rectangular voxels first")
    # A rotation that is one to rounding only is refused by some filters.
    left, _, right = np.linalg.svd(direction)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((left @ right).ravel().tolist())
    return image


def from_sitk(image: sitk.Image) -> Volume:
    """A SimpleITK image as float32 volume."""
    affine = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    affine[:3, :3] = direction * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    array = sitk.GetArrayFromImage(image).transpose().astype(np.float32)
    return Volume(np.ascontiguousarray(array), FLIP @ affine)


def matrix_of(transform: sitk.Transform) -> np.ndarray:
    """The `(4, 4)` RAS matrix, mm, of a linear SimpleITK transform."""
    points = [transform.TransformPoint(point) for point in np.vstack([np.zeros(3), np.eye(3)])]
    origin = np.array(points[0])
    matrix = np.eye(4)
    matrix[:3, :3] = (np.array(points[1:]) - origin).T
    matrix[:3, 3] = origin
    return FLIP @ matrix @ FLIP


def transform_of(matrix: np.ndarray) -> sitk.AffineTransform:
    """The SimpleITK transform of a `(4, 4)` RAS matrix, mm."""
    lps = FLIP @ matrix @ FLIP
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(lps[:3, :3].ravel().tolist())
    transform.SetTranslation(lps[:3, 3].tolist())
    return transform

"""Reorientation of the array axes, to RAS and to a head upright; no voxel value changes.

The inverse of `to_ras` is `native.to_native`, that of `upright` is `turned_back`.
"""

from itertools import permutations, product

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, io_orientation, ornt_transform

from brainuad.types import Volume

TURNED_DEGREES = 45.0
"""A head that lies further off than this is no tilted one."""


def to_ras(volume: Volume) -> Volume:
    """Permute and flip the axes to the closest RAS order; no voxel value changes.

    Args:
        volume: any axis order, oblique affines included (the obliqueness stays in the affine).
    """
    image = nib.as_closest_canonical(nib.nifti1.Nifti1Image(volume.array, volume.affine))
    return Volume(image.get_fdata(dtype="float32"), image.affine)


def turn_of(matrix: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the orientation of a head that was registered to the atlas.

    Args:
        matrix: `(4, 4)`, atlas world to the scan's, RAS mm.

    Returns:
        The angle of its rotation in degrees, and that rotation rounded to the axes, `(3, 3)`: the
        identity for angles up to `TURNED_DEGREES`.
    """
    left, _, right = np.linalg.svd(matrix[:3, :3])
    rotation = left @ right
    degrees = float(np.rad2deg(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))))
    if degrees <= TURNED_DEGREES:
        return degrees, np.eye(3)
    return degrees, max(right_angles(), key=lambda turn: float((turn * rotation).sum()))


def right_angles() -> list[np.ndarray]:
    """The 24 rotations, `(3, 3)`, that take axes to axes."""
    rows = [np.eye(3)[list(order)] for order in permutations(range(3))]
    turns = [np.diag(signs) @ m for m in rows for signs in product((1.0, -1.0), repeat=3)]
    return [turn for turn in turns if np.linalg.det(turn) > 0]


def upright(volume: Volume, turn: np.ndarray) -> Volume:
    """The scan with its head upright: axes permuted and flipped, the world turned with them.

    Args:
        volume: RAS axes.
        turn: `(3, 3)`, of `turn_of`.
    """
    affine = np.eye(4)
    affine[:3, :3] = turn.T
    affine = affine @ volume.affine
    order = io_orientation(affine)
    array = np.ascontiguousarray(apply_orientation(volume.array, order))
    return Volume(array, affine @ nib.orientations.inv_ornt_aff(order, volume.array.shape))


def turned_back(array: np.ndarray, like: Volume, turn: np.ndarray) -> np.ndarray:
    """An array on the grid of `upright(like, turn)` on the grid of `like`."""
    affine = np.eye(4)
    affine[:3, :3] = turn.T
    order = ornt_transform(io_orientation(np.eye(4)), io_orientation(affine @ like.affine))
    return np.ascontiguousarray(apply_orientation(array, order))

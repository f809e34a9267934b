"""Whether two volumes lie on one grid."""

from pathlib import Path

import numpy as np
from nibabel.affines import apply_affine
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

from brainuad.errors import InputError
from brainuad.types import Volume

SHARE = 0.25
"""Of a voxel: grids that agree so well are the same to rounding; a shift by half a voxel is not."""

EXACT = 1e-3
"""Of a voxel: grids that agree less well are worth a note."""


def on_grid(path: Path, volume: Volume, like: Volume, notes: list[str] | None = None) -> Volume:
    """A volume on the grid of another one: axes in the other order or direction are no other place.

    Args:
        path: that `volume` was read from.
        volume: on the grid of `like` but for the order of its axes and for rounding.
        like: in its own axes.
        notes: gets what was odd.

    Returns:
        The same voxels in the order of `like`, with its affine.

    Raises:
        InputError: the grids differ.
    """
    # Voxels of `volume` in those of `like`.
    between = np.linalg.inv(like.affine) @ volume.affine
    order = io_orientation(between)
    array, affine = volume.array, volume.affine
    if not np.isnan(order).any() and not np.array_equal(order, [[0, 1], [1, 1], [2, 1]]):
        affine = affine @ inv_ornt_aff(order, array.shape)
        turned = np.ascontiguousarray(apply_orientation(array, order))
        if _apart(turned.shape, affine, like) <= SHARE:
            array = turned
            if notes is not None:
                notes.append(f"{path.name}: its axes are stored in another order; reordered")
    apart = _apart(array.shape, affine, like)
    if not apart <= SHARE:
        raise _other(path, volume, like)
    if apart > EXACT and notes is not None:
        notes.append(f"{path.name}: its grid is {apart:.2g} of a voxel off its scan's; taken as it")
    return Volume(array, like.affine)


def require_same_grid(path: Path, volume: Volume, like: Volume, tolerance_mm: float = 1e-2) -> None:
    """Raises InputError when `volume`, read from `path`, is not on the grid of `like`."""
    same = volume.array.shape == like.array.shape
    if not same or not np.allclose(volume.affine, like.affine, atol=tolerance_mm):
        raise _other(path, volume, like)


def _other(path: Path, volume: Volume, like: Volume) -> InputError:
    if volume.array.shape != like.array.shape:
        return InputError(
            f"{path}: found grid {volume.array.shape}, expected {like.array.shape} as its image "
            "has; resample it to the image"
        )
    return InputError(
        f"{path}: its affine differs from its image's; resample it to the image or mend the header"
    )


def _apart(shape: tuple[int, ...], affine: np.ndarray, like: Volume) -> float:
    """Voxels that the corners lie apart at most; infinite for other shapes."""
    if shape != like.array.shape:
        return np.inf
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape])).reshape(3, -1).T
    moved = apply_affine(np.linalg.inv(like.affine) @ affine, corners)
    return float(np.abs(moved - corners).max())

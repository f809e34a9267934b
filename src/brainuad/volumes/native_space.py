"""The way back: from a prepared volume to the scan as it came."""

from pathlib import Path

import numpy as np
from nibabel.affines import apply_affine

from brainuad.errors import InputError
from brainuad.types import Volume
from brainuad.volumes.resample import resample_like
from brainuad.volumes.warp import displaced, inverse_path, read_field

REFINE = 4
"""Each step brings the way back of a point nearer, the smoother the warp the more."""


def to_native(
    array: np.ndarray,
    prepared_affine: np.ndarray,
    like: Volume,
    transform: Path | None = None,
    order: int = 1,
    warp: Path | None = None,
) -> np.ndarray:
    """Carries a prepared array onto the native grid, composing every geometric step's inverse.

    Reorientation, resampling and cropping live in the affines alone; a registration is the
    matrix in `transform`, after the displacement field in `warp` where it was deformable.

    Args:
        array: `(D, H, W)` on the prepared grid.
        prepared_affine: `(4, 4)`, voxel to prepared world, mm.
        like: the native scan.
        transform: text file with the `(4, 4)` matrix prepared world -> native world, mm; None
            when both are the same.
        order: 1 linear (maps), 0 nearest neighbour (masks).
        warp: displacement field of a deformable registration; its inverse lies beside it.

    Returns:
        float32, shape of `like`; 0 outside the prepared field of view.

    Raises:
        InputError: `transform` is not a readable 4x4 matrix, or `warp` no readable field.
    """
    matrix = world_matrix(transform)
    if warp is None:
        return resample_like(array, matrix @ prepared_affine, like, order)
    laid = Volume(like.array, np.linalg.inv(matrix) @ like.affine)
    return resample_like(array, prepared_affine, laid, order, read_field(inverse_path(warp)))


def native_points(
    points: np.ndarray, transform: Path | None = None, warp: Path | None = None
) -> np.ndarray:
    """Points `(N, 3)` of the prepared world, RAS mm, in the native world.

    Raises:
        InputError: as `to_native`.
    """
    moved = points if warp is None else displaced(points, read_field(warp))
    return apply_affine(world_matrix(transform), moved)


def prepared_points(
    points: np.ndarray, transform: Path | None = None, warp: Path | None = None
) -> np.ndarray:
    """Points `(N, 3)` of the native world, RAS mm, in the prepared world.

    Raises:
        InputError: as `to_native`.
    """
    laid = apply_affine(np.linalg.inv(world_matrix(transform)), points)
    if warp is None:
        return laid
    moved, field = displaced(laid, read_field(inverse_path(warp))), read_field(warp)
    # The inverse is exact at its voxels; in between, a few steps with the warp itself.
    for _ in range(REFINE):
        moved = moved + laid - displaced(moved, field)
    return moved


def world_matrix(path: Path | None) -> np.ndarray:
    """The `(4, 4)` matrix prepared world -> native world, mm; the identity when there is no file.

    Raises:
        InputError: not a readable 4x4 matrix.
    """
    if path is None:
        return np.eye(4)
    try:
        matrix = np.loadtxt(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable matrix ({error}); prepare it again") from None
    if matrix.shape != (4, 4):
        raise InputError(f"{path}: found shape {matrix.shape}, expected (4, 4); prepare it again")
    return matrix

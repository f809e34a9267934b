"""The way back: from a prepared volume to the scan as it came."""

from pathlib import Path

import numpy as np

from brainuad.errors import InputError
from brainuad.preparation.resample import resample_like
from brainuad.types import Volume


def to_native(
    array: np.ndarray,
    prepared_affine: np.ndarray,
    like: Volume,
    transform: Path | None = None,
    order: int = 1,
) -> np.ndarray:
    """Carries a prepared array onto the native grid, composing every geometric step's inverse.

    Reorientation, resampling and cropping live in the affines alone; a registration is the
    matrix in `transform`.

    Args:
        array: `(D, H, W)` on the prepared grid.
        prepared_affine: `(4, 4)`, voxel to prepared world, mm.
        like: the native scan.
        transform: text file with the `(4, 4)` matrix prepared world -> native world, mm; None
            when both are the same.
        order: 1 linear (maps), 0 nearest neighbour (masks).

    Returns:
        float32, shape of `like`; 0 outside the prepared field of view.

    Raises:
        InputError: `transform` is not a readable 4x4 matrix.
    """
    return resample_like(array, world_matrix(transform) @ prepared_affine, like, order)


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

"""Grids: compare two, cover several by one, and move arrays between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.affines import apply_affine
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

from brainuad.errors import InputError
from brainuad.types import Volume
from brainuad.volumes.resample import resample_like, smoothed

SHARE = 0.25
"""Share of a voxel: grids that agree so well are equal but for rounding."""

EXACT = 1e-3
"""Share of a voxel: grids that agree less well get a note."""


@dataclass(frozen=True)
class Grid:
    """Grid of a volume: its shape and affine.

    Attributes:
        shape: `(D, H, W)`.
        affine: `(4, 4)`, voxel to world in mm.
    """

    shape: tuple[int, ...]
    affine: np.ndarray

    @property
    def empty(self) -> Volume:
        """A volume on it that takes no memory, all 0."""
        return Volume(np.broadcast_to(np.float32(0), self.shape), self.affine)

    @property
    def words(self) -> str:
        """Return its size in words."""
        return " x ".join(map(str, self.shape))

    def ras(self) -> "Grid":
        """The same voxels with the axes in the order closest to RAS."""
        order = io_orientation(self.affine)
        shape = [0, 0, 0]
        for length, (axis, _) in zip(self.shape, order.astype(int), strict=True):
            shape[axis] = length
        return Grid(tuple(shape), self.affine @ inv_ornt_aff(order, self.shape))

    def apart(self, other: "Grid") -> float:
        """Voxels of `other` that the corners lie apart at most; infinite for other shapes."""
        if tuple(self.shape) != tuple(other.shape):
            return np.inf
        corners = _corners(self.shape)
        moved = apply_affine(np.linalg.inv(other.affine) @ self.affine, corners)
        return float(np.abs(moved - corners).max())


def grid_of(volume: Volume) -> Grid:
    """The grid of a volume."""
    return Grid(volume.array.shape, volume.affine)


def united(grids: Sequence[Grid]) -> Grid:
    """The smallest grid that covers all the grids, on the voxels of the first one."""
    back = np.linalg.inv(grids[0].affine)
    ends = [apply_affine(back @ grid.affine, _corners(grid.shape)) for grid in grids]
    low = np.floor(np.min([end.min(axis=0) for end in ends], axis=0) + EXACT).astype(int)
    high = np.ceil(np.max([end.max(axis=0) for end in ends], axis=0) - EXACT).astype(int)
    affine = grids[0].affine.copy()
    affine[:3, 3] = apply_affine(grids[0].affine, low)
    return Grid(tuple(int(n) for n in high - low + 1), affine)


def lay(array: np.ndarray, affine: np.ndarray, grid: Grid) -> np.ndarray:
    """An array on another grid of the same world; 0 where it does not reach.

    Grids that differ by whole voxels and by the order of the axes give the same values, exactly;
    others are interpolated linearly, after a smoothing where they are coarser.

    Args:
        array: `(D, H, W)`.
        affine: `(4, 4)` of `array`, voxel to world in mm.
        grid: target grid.

    Returns:
        float32, of the shape of `grid`.
    """
    order = io_orientation(np.linalg.inv(grid.affine) @ affine)
    if not np.isnan(order).any():
        affine = affine @ inv_ornt_aff(order, array.shape)
        array = apply_orientation(array, order)
    # Voxels of `grid` in those of the array.
    corners = _corners(grid.shape)
    moved = apply_affine(np.linalg.inv(affine) @ grid.affine, corners)
    start = np.rint(moved[0]).astype(int)
    if np.abs(moved - corners - start).max() > EXACT:
        source = Volume(np.asarray(array, np.float32), affine)
        smooth = smoothed(source, max(grid.empty.spacing_mm))
        return resample_like(smooth, affine, grid.empty)
    found = np.zeros(grid.shape, np.float32)
    pairs = [
        (slice(max(-at, 0), max(min(n - at, m), 0)), slice(max(at, 0), max(min(n, m + at), 0)))
        for at, n, m in zip(start, array.shape, grid.shape, strict=True)
    ]
    into, out = zip(*pairs, strict=True)
    if all(one.stop > one.start for one in into):
        found[into] = array[out]
    return found


def share_outside(mask: np.ndarray, affine: np.ndarray, grid: Grid) -> float:
    """The share of a mask's voxels whose centres lie outside a grid.

    Args:
        mask: `(D, H, W)` bool, not empty.
        affine: `(4, 4)` of the mask, voxel to the world of the grid in mm.
        grid: the grid.
    """
    voxels = apply_affine(np.linalg.inv(grid.affine) @ affine, np.argwhere(mask))
    away = (voxels < -0.5 - EXACT) | (voxels > np.array(grid.shape) - 0.5 + EXACT)
    return float(away.any(axis=1).mean())


def _corners(shape: Sequence[int]) -> np.ndarray:
    """Return the indices `(8, 3)` of the outermost voxels, the first voxel's first."""
    return np.array(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij")).reshape(3, -1).T


def on_grid(path: Path, volume: Volume, like: Volume, notes: list[str] | None = None) -> Volume:
    """A volume on the grid of another one: axes in the other order or direction are no other place.

    Args:
        path: that `volume` was read from.
        volume: on the grid of `like` but for the order of its axes and for rounding.
        like: volume in its own axes.
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
        if Grid(turned.shape, affine).apart(grid_of(like)) <= SHARE:
            array = turned
            if notes is not None:
                notes.append(f"{path.name}: its axes are stored in another order; reordered")
    apart = Grid(array.shape, affine).apart(grid_of(like))
    if not apart <= SHARE:
        raise _other(path, volume, like)
    if apart > EXACT and notes is not None:
        notes.append(f"{path.name}: its grid is {apart:.2g} of a voxel off its scan's; taken as it")
    return Volume(array, like.affine)


def require_same_grid(path: Path, volume: Volume, like: Volume, tolerance_mm: float = 1e-2) -> None:
    """Raise an InputError if `volume`, read from `path`, is not on the grid of `like`."""
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

"""The space halfway between two scans of one head, so that both are interpolated alike.

After Reuter et al. 2010 (NeuroImage 53(4)): a scan that is resampled to the other one gets smoother
than it, and their difference shows the interpolation.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from nibabel.affines import apply_affine
from scipy import ndimage
from scipy.linalg import sqrtm
from skimage.measure import block_reduce

from brainuad.preparation.register.linear import Register
from brainuad.types import Volume
from brainuad.volumes.grids import Grid
from brainuad.volumes.orient import to_ras
from brainuad.volumes.regions import box_of

MARGIN_MM = 5.0
"""Room around the brains on the grid."""


class Halfway(NamedTuple):
    """Grid halfway between two scans, with the way to both.

    Attributes:
        grid: RAS axes, isotropic voxels, around both brains.
        to_first: `(4, 4)`, world of the grid to the world of the first scan, RAS mm.
        to_second: likewise to the second scan.
    """

    grid: Grid
    to_first: np.ndarray
    to_second: np.ndarray


@dataclass(frozen=True)
class RegisterHalfway:
    """Rigid registration of two scans of one head in both directions, and its mean.

    Args:
        register: rigid registration of the brains.
        spacing_mm: edge length of the grid's voxels.
    """

    register: Register = field(default_factory=lambda: Register("rigid", spacing_mm=1.0))
    spacing_mm: float = 1.0

    def __call__(
        self, first: Volume, second: Volume, brains: tuple[np.ndarray, np.ndarray]
    ) -> Halfway:
        """Return the grid halfway.

        Args:
            first: scan of the first visit.
            second: scan of the second visit.
            brains: their brain masks, each on its scan's grid.

        Raises:
            ValueError: the brains could not be registered.
        """
        scans = (first, second)
        pairs = [extracted(*pair) for pair in zip(scans, brains, strict=True)]
        there, back = (
            self.register(one.image, other.image, one.brain).matrix
            for one, other in (pairs, reversed(pairs))
        )
        to_first, to_second = halves(mean_of(there, np.linalg.inv(back)))
        laid = [
            apply_affine(np.linalg.inv(way) @ scan.affine, np.argwhere(brain))
            for way, scan, brain in zip((to_first, to_second), scans, brains, strict=True)
        ]
        return Halfway(_grid(np.concatenate(laid), self.spacing_mm), to_first, to_second)


class Extracted(NamedTuple):
    """A brain without its head; `brain` is its mask."""

    image: Volume
    brain: np.ndarray


def extracted(scan: Volume, brain: np.ndarray) -> Extracted:
    """Return a scan's brain, RAS axes, cropped; 0 outside."""
    # Negative values are artefacts of an interpolation.
    inside = to_ras(Volume(np.where(brain, np.maximum(scan.array, 0), 0), scan.affine))
    mask = to_ras(Volume(brain.astype(np.uint8), scan.affine)).array > 0
    box = box_of(mask, (2, 2, 2))
    affine = inside.affine.copy()
    affine[:3, 3] = apply_affine(inside.affine, [part.start for part in box])
    return Extracted(Volume(np.ascontiguousarray(inside.array[box]), affine), mask[box])


def mean_of(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the mean of two nearby rigid transforms, `(4, 4)`; their order does not matter."""
    return one @ _root(np.linalg.inv(one) @ other)


def halves(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return `T^-1/2` and `T^1/2` of a rigid transform, `(4, 4)`.

    Args:
        matrix: world of the first scan to the world of the second.

    Returns:
        The world halfway to the first scan's, and to the second's.
    """
    half = _root(matrix)
    return np.linalg.inv(half), half


def carried(
    array: np.ndarray, affine: np.ndarray, grid: Grid, way: np.ndarray, order: int = 1
) -> np.ndarray:
    """Resample to another grid by splines; 0 outside.

    Args:
        array: `(D, H, W)`, bool or numbers.
        affine: `(4, 4)` of `array`.
        grid: grid of the result.
        way: `(4, 4)`, world of `grid` to the world of `array`.
        order: 1 linear, 3 cubic, which keeps an image sharp.

    Returns:
        float32.
    """
    to_voxels = np.linalg.inv(affine) @ way @ grid.affine
    return ndimage.affine_transform(
        array.astype(np.float32), to_voxels, output_shape=tuple(grid.shape), order=order
    )


def shares(mask: np.ndarray, affine: np.ndarray, grid: Grid, way: np.ndarray) -> np.ndarray:
    """Return the share of each voxel that a mask of finer voxels covers; see `carried`."""
    edges = [np.linalg.norm(one[:3, :3], axis=0) for one in (grid.affine, affine)]
    steps = np.maximum(np.ceil(edges[0] / edges[1].min() - 1e-3), 1).astype(int)
    finer = np.diag([*(1 / steps), 1.0])
    finer[:3, 3] = (1 / steps - 1) / 2
    parts = Grid(tuple(int(n) for n in steps * grid.shape), grid.affine @ finer)
    fine = carried(mask, affine, parts, way)
    mean: Callable[..., np.ndarray] = np.mean
    found: np.ndarray = block_reduce(fine, tuple(int(n) for n in steps), mean)
    return found


def _root(matrix: np.ndarray) -> np.ndarray:
    return np.real(sqrtm(matrix))


def _grid(points: np.ndarray, spacing: float) -> Grid:
    low, high = points.min(axis=0) - MARGIN_MM, points.max(axis=0) + MARGIN_MM
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = low
    return Grid(tuple(int(n) for n in np.ceil((high - low) / spacing) + 1), affine)

"""Fill the lesion before preparation; blend the inpainted tissue into the scan afterwards.

Intensities of the lesion must not reach any step of the preparation, and the filling must fit its
surroundings. Both are computed from the scan's voxels around the region.
"""

from itertools import product

import numpy as np
from nibabel.affines import apply_affine
from scipy import ndimage, sparse
from scipy.optimize import least_squares
from scipy.sparse.linalg import cg

from brainuad.types import Space, Volume
from brainuad.volumes.native_space import parts, prepared_points

RING_MM = 15.0
"""Distance in mm of the healthy tissue that sets the brightness of the filling."""

FEW = 500
"""Smallest number of voxels in the ring around the region; with fewer, the whole brain is used."""

SEAM_MM = 10.0
"""Distance in mm over which a difference at the region's boundary fades to a third."""

_MOST = 50_000
_FAR_MM = 1000.0


def smooth_fill(
    array: np.ndarray,
    unknown: np.ndarray,
    known: np.ndarray,
    spacing_mm: tuple[float, float, float],
    length_mm: float = _FAR_MM,
) -> np.ndarray:
    """Interpolate into `unknown` from `known` by a membrane (screened Laplace equation).

    scikit-image's biharmonic inpainting would take hours for a tumour.

    Args:
        array: `(D, H, W)`, any unit; only its `known` voxels are used.
        unknown: `(D, H, W)` bool.
        known: `(D, H, W)` bool, disjoint from `unknown`. Other voxels and the array's edge do not
            fix the membrane.
        spacing_mm: edges of a voxel.
        length_mm: length over which the values fade to 0; the default keeps them.

    Returns:
        `(N,)` float64, in the order of `array[unknown]`; 0 where no known voxel is in reach.
    """
    numbers = np.cumsum(unknown).reshape(unknown.shape) - 1
    count = int(np.count_nonzero(unknown))
    diagonal = np.full(count, length_mm**-2.0)
    right = np.zeros(count)
    rows, columns, weights = [], [], []
    for axis, edge in enumerate(spacing_mm):
        low, high = [slice(None)] * 3, [slice(None)] * 3
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        for here, there in ((tuple(low), tuple(high)), (tuple(high), tuple(low))):
            inner = unknown[here] & unknown[there]
            own, other = numbers[here][inner], numbers[there][inner]
            diagonal[own] += edge**-2.0
            rows.append(own)
            columns.append(other)
            weights.append(np.full(own.size, -(edge**-2.0)))
            rim = unknown[here] & known[there]
            own = numbers[here][rim]
            diagonal[own] += edge**-2.0
            right[own] += edge**-2.0 * array[there][rim]
    every = np.arange(count)
    matrix = sparse.csr_array(
        (
            np.concatenate([*weights, diagonal]),
            (np.concatenate([*rows, every]), np.concatenate([*columns, every])),
        ),
        shape=(count, count),
    )
    found, _ = cg(matrix, right, rtol=1e-5, maxiter=5000, M=sparse.diags_array(1 / diagonal))
    return found


def carried_hole(
    hole: np.ndarray,
    affine: np.ndarray,
    grid: Volume,
    space: Space,
) -> np.ndarray:
    """Return the prepared voxels that overlap a native voxel of the region.

    Native voxels are sampled at points so close that no prepared voxel lies between them. The
    voxels around each point are taken, from which its value is interpolated on the way back.

    Args:
        hole: `(D, H, W)` bool on the native grid.
        affine: `(4, 4)`, native voxel to native world, mm.
        grid: the prepared grid.
        space: the way from the prepared grid to the native scan.

    Returns:
        `(D', H', W')` bool on the prepared grid.
    """
    to_prepared = np.linalg.inv(grid.affine)
    before, _, after = parts(space.way)
    to_world = np.linalg.inv(after @ before)[:3, :3]
    steps = to_prepared[:3, :3] @ to_world @ affine[:3, :3]
    pieces = [np.arange(n) / n + 0.5 / n - 0.5 for n in _pieces(np.abs(steps))]
    voxels = np.argwhere(hole)
    shape = np.array(grid.array.shape)
    found = np.zeros(grid.array.shape, bool)
    for offset in product(*pieces):
        points = apply_affine(affine, voxels + np.array(offset))
        points = prepared_points(points, space.way)
        # Rounded, so that grids that coincide do so in floating point too.
        points = np.round(apply_affine(to_prepared, points), 3)
        for side in product((np.floor, np.ceil), repeat=3):
            index = np.stack([side[i](points[:, i]) for i in range(3)], axis=1).astype(int)
            inside = ((index >= 0) & (index < shape)).all(axis=1)
            found[tuple(index[inside].T)] = True
    return found


def with_rim(hole: np.ndarray) -> np.ndarray:
    """Return the region and its face neighbours, which fix its membrane."""
    return ndimage.binary_dilation(hole)


def blended(
    laid: np.ndarray,
    native: np.ndarray,
    hole: np.ndarray,
    painted: np.ndarray,
    brain: np.ndarray,
    affine: np.ndarray,
) -> np.ndarray:
    """Return the values for the region to fill, at the brightness of its surroundings.

    The preparation divides by a bias field, so the native scan is the prepared one times a smooth
    gain. It is fitted on the tissue around the filling, first order in space. The filling overlaps
    the healthy voxels at the region's boundary. The remaining difference there is continued inside
    by a fading membrane (as in Poisson editing, Pérez et al. 2003, ACM TOG 22(3)).

    Args:
        laid: `(D, H, W)` on the native grid: the filled scan as prepared, not normalised.
        native: the scan.
        hole: bool, the region to fill.
        painted: bool, the region and its neighbours (`with_rim`), where `laid` is the filling.
        brain: bool, where `laid` is valid.
        affine: `(4, 4)`, native voxel to world, mm.

    Returns:
        `(N,)` float64 in native units, within the range of the brain around, in the order of
        `native[hole & brain]`.

    Raises:
        ValueError: no brain is left outside the region.
    """
    filled, healthy = hole & brain, brain & ~hole
    spacing = Volume(native, affine).spacing_mm
    if not (healthy & ~painted).any():
        raise ValueError("no brain is left outside the mask")
    away = ndimage.distance_transform_edt(~filled, sampling=spacing)
    ring = healthy & ~painted & (away <= RING_MM)
    if np.count_nonzero(ring) < FEW:
        ring = healthy & ~painted
    centre = np.argwhere(filled).mean(axis=0)
    axes = affine[:3, :3] / RING_MM

    def terms(where: np.ndarray) -> np.ndarray:
        offsets = (np.argwhere(where) - centre) @ axes.T
        return np.column_stack([np.ones(len(offsets)), offsets])

    every = slice(None, None, 1 + np.count_nonzero(ring) // _MOST)
    coefficients = _fitted(terms(ring)[every], laid[ring][every], native[ring][every])
    # Far from the ring a linear gain may exceed the range of bias fields.
    gains = np.clip(terms(ring) @ coefficients, 0, None)
    least, most = gains.min(), gains.max()
    level = np.zeros(native.shape)
    rim = with_rim(filled) & healthy
    for part in (filled, rim):
        level[part] = laid[part] * np.clip(terms(part) @ coefficients, least, most)
    seam = smooth_fill(native - level, filled, rim, spacing, SEAM_MM)
    return np.clip(level[filled] + seam, native[healthy].min(), native[healthy].max())


def _fitted(terms: np.ndarray, laid: np.ndarray, native: np.ndarray) -> np.ndarray:
    """Return the coefficients `(4,)` of the gain, fitted robustly: a lesion may exceed its mask."""
    weighted, goal = terms * laid[:, None], native.astype(np.float64)
    start = np.linalg.lstsq(weighted, goal, rcond=None)[0]
    scale = float(np.median(np.abs(weighted @ start - goal)))
    if scale <= 1e-6 * float(np.abs(goal).max()):
        return start
    return least_squares(
        lambda x: weighted @ x - goal, start, lambda x: weighted, loss="soft_l1", f_scale=scale
    ).x


def _pieces(steps: np.ndarray) -> tuple[int, ...]:
    """Return the number of pieces per axis so that each is at most a prepared voxel wide.

    Args:
        steps: `(3, 3)`, extent of each native axis (column) along each prepared one, >= 0.
    """
    # The cheaper of two ways to limit a piece's extents along a prepared axis to 1 in total.
    sums = np.where(steps > 1e-3, steps.sum(axis=1)[:, None], 0).max(axis=0)
    ways = [np.maximum(np.ceil(n - 1e-3), 1).astype(int) for n in (sums, 3 * steps.max(axis=0))]
    return tuple(int(n) for n in min(ways, key=np.prod))

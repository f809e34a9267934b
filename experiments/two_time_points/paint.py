"""Pairs of visits of known change: a real head with painted lesions, moved and re-noised twice."""

from dataclasses import dataclass

import numpy as np
import torch
from nibabel.affines import apply_affine
from scipy import ndimage
from scipy.spatial.transform import Rotation

from brainuad.synthetic.lesions.shapes import Blobs
from brainuad.types import Volume

KINDS = ("new", "grown", "shrunk", "vanished")
SIZES_ML = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
CORE_ML = 0.5
"""Volume of a lesion before it grows, and after it shrinks."""

SOFT_MM = 0.7
"""Standard deviation of a lesion's border."""


@dataclass(frozen=True)
class Change:
    """A painted change.

    Attributes:
        kind: one of `KINDS`, or `stable`.
        volume_ml: volume of the changed tissue; of a stable lesion 0.
    """

    kind: str
    volume_ml: float


@dataclass(frozen=True)
class Pair:
    """Two visits of known change.

    Attributes:
        first: scan of the first visit.
        second: scan of the second visit.
        brains: brain masks of both.
        truth: label of each change, on the grid of the head before it was moved; 1 is the first of
            `changes`.
        changes: the painted changes.
        ways: `(4, 4)`, world of the unmoved head to the world of each visit.
    """

    first: Volume
    second: Volume
    brains: tuple[np.ndarray, np.ndarray]
    truth: Volume
    changes: tuple[Change, ...]
    ways: tuple[np.ndarray, np.ndarray]


def paint(head: Volume, brain: np.ndarray, sign: int, seed: int) -> Pair:
    """Return a pair of visits.

    Args:
        head: real scan.
        brain: `(D, H, W)` bool.
        sign: 1 for bright lesions, -1 for dark ones.
        seed: seed of all draws.
    """
    rng = np.random.default_rng(seed)
    sizes = rng.permutation(SIZES_ML)
    kinds = [KINDS[(n + seed) % 4] for n in range(len(sizes))]
    changes = [Change(kind, float(size)) for kind, size in zip(kinds, sizes, strict=True)]
    changes.append(Change("stable", 0.0))
    white = float(np.median(head.array[brain]))
    arrays = [head.array.astype(np.float32), head.array.astype(np.float32)]
    labels = np.zeros(head.array.shape, np.uint8)
    depth = ndimage.distance_transform_edt(brain, sampling=head.spacing_mm)
    free = _free(head, brain, depth)
    voxel_ml = float(np.prod(head.spacing_mm)) / 1000
    placed = []
    # The largest first: small ones find room between.
    for number, change in sorted(enumerate(changes, 1), key=lambda one: -one[1].volume_ml):
        core = CORE_ML if change.kind not in ("new", "vanished") else 0.0
        box, large, small = _lesion(free, head, change.volume_ml + core, core, rng)
        contrast = np.float32(sign * rng.uniform(0.3, 0.7) * white)
        shown = {
            "new": (None, large),
            "vanished": (large, None),
            "grown": (small, large),
            "shrunk": (large, small),
            "stable": (large, large),
        }[change.kind]
        sigma = [SOFT_MM / edge for edge in head.spacing_mm]
        for array, shape in zip(arrays, shown, strict=True):
            if shape is not None:
                array[box] += contrast * ndimage.gaussian_filter(shape.astype(np.float32), sigma)
        if change.kind != "stable":
            labels[box][large & ~(small if core else np.zeros_like(large))] = number
            volume = float((labels == number).sum() * voxel_ml)
            placed.append((number, Change(change.kind, volume)))
        room = ndimage.distance_transform_edt(~large, sampling=head.spacing_mm) > 10
        free[box] &= room
    placed.sort()
    names = tuple(change for _, change in placed)
    ways = tuple(_motion(rng, head, brain) for _ in range(2))
    scans, brains = [], []
    for array, way, visit in zip(arrays, ways, (1, 2), strict=True):
        moved = _moved(array, head.affine, way, 3)
        inside = _moved(brain.astype(np.float32), head.affine, way, 1) > 0.5
        scans.append(Volume(_scanned(moved, head, white, rng, visit), head.affine))
        brains.append(inside)
    truth = Volume(labels, head.affine)
    return Pair(scans[0], scans[1], (brains[0], brains[1]), truth, names, (ways[0], ways[1]))


def _free(head: Volume, brain: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Return where centres may lie: deep in the brain, in plain tissue."""
    sigma = [2.0 / edge for edge in head.spacing_mm]
    smooth = ndimage.gaussian_filter(head.array, sigma)
    spread = np.sqrt(np.maximum(ndimage.gaussian_filter(head.array**2, sigma) - smooth**2, 0))
    low, high = np.percentile(smooth[brain], [25, 85])
    plain = spread < np.percentile(spread[brain], 50)
    return brain & (depth > 8) & (smooth > low) & (smooth < high) & plain


def _lesion(
    free: np.ndarray, head: Volume, volume_ml: float, core_ml: float, rng: np.random.Generator
) -> tuple[tuple[slice, ...], np.ndarray, np.ndarray]:
    """Return a box around a free place, the lesion in it, and its core."""
    places = np.argwhere(free)
    centre = places[rng.integers(len(places))]
    radius = (volume_ml * 1000 * 3 / 4 / np.pi) ** (1 / 3)
    spacing = np.array(head.spacing_mm)
    reach = np.ceil((2.2 * radius + 14) / spacing).astype(int)
    box = tuple(
        slice(max(0, c - r), min(n, c + r + 1))
        for c, r, n in zip(centre, reach, free.shape, strict=True)
    )
    shape = free[box].shape
    at = np.zeros(shape, bool)
    at[tuple(c - part.start for c, part in zip(centre, box, strict=True))] = True
    blob = Blobs((radius, radius), region=lambda mask: torch.from_numpy(at)[None, None],
                 spacing_mm=head.spacing_mm)  # fmt: skip
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    large = blob(torch.ones(1, 1, *shape, dtype=torch.bool), generator)[0, 0].numpy()
    inward = ndimage.distance_transform_edt(large, sampling=head.spacing_mm)
    count = round(core_ml * 1000 / float(spacing.prod()))
    small = np.zeros_like(large)
    # Grown to one side: a rind around the core would be thinner than a voxel.
    side = rng.normal(size=3)
    side /= np.linalg.norm(side)
    offset = np.moveaxis(np.indices(shape), 0, -1) * spacing @ side
    order = np.argsort(np.where(large, offset + 0.5 * inward, np.inf), axis=None)[:count]
    small.ravel()[order] = True
    return box, large, small


def _motion(rng: np.random.Generator, head: Volume, brain: np.ndarray) -> np.ndarray:
    """Return a rigid motion about the brain's middle: up to 4 mm and 4 degrees an axis."""
    middle = apply_affine(head.affine, np.argwhere(brain).mean(axis=0))
    turn = Rotation.from_euler("xyz", rng.uniform(-4, 4, 3), degrees=True).as_matrix()
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    matrix[:3, 3] = middle - turn @ middle + rng.uniform(-4, 4, 3)
    return matrix


def _moved(array: np.ndarray, affine: np.ndarray, way: np.ndarray, order: int) -> np.ndarray:
    to_voxels = np.linalg.inv(affine) @ np.linalg.inv(way) @ affine
    return ndimage.affine_transform(array, to_voxels, order=order)


def _scanned(
    array: np.ndarray, head: Volume, white: float, rng: np.random.Generator, visit: int
) -> np.ndarray:
    """Return an image of another day: bias of 10 %, noise of 3 %, another brightness."""
    coarse = rng.normal(size=(3, 3, 3))
    zoom = [n / 3 for n in array.shape]
    bias = ndimage.zoom(coarse, zoom, order=3, mode="nearest", grid_mode=True)
    bias = np.exp(0.1 * bias / max(float(np.abs(bias).max()), 1e-6) * 1.0)
    noise = rng.normal(scale=0.03 * white, size=(2, *array.shape))
    # Cleared background stays cleared.
    noisy = np.where(
        array > 0.02 * white, np.hypot(np.maximum(array * bias, 0) + noise[0], noise[1]), 0
    )
    scale = 1.0 if visit == 1 else rng.uniform(0.7, 1.4)
    return (scale * noisy).astype(np.float32)

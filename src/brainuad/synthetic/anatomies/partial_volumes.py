"""Partial volumes of a label map: the share of every class in every voxel."""

from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from brainuad.errors import InputError
from brainuad.synthetic.anatomies.classes import (
    CLASSES,
    LATERAL,
    LESIONS,
    OUTSIDE,
    class_of_label,
)
from brainuad.types import Volume
from brainuad.volumes.regions import largest_region

PARTS = 3
"""Points per axis of a voxel at which the label map is looked up: 27 a voxel."""

CLOSED_MM, RIM_MM = 8.0, 3.0
"""A brain mask closes sulci up to twice the first, and holds so much CSF outside the tissue."""

DISTANCE_MM = 0.25
"""Step of the stored distance to the ventricles; the largest is 63.75 mm."""


class PartialVolumes(NamedTuple):
    """A head on the grid of a bank. All arrays are uint8 on `(D, H, W)`.

    Attributes:
        tissues: `(16, D, H, W)` shares of `CLASSES`, 255 for the whole voxel. The map's own white
            matter lesions count as white matter.
        brain: share of the brain with the CSF around it, 255 for the whole voxel.
        lesions: share of the map's own white matter lesions.
        ventricle_mm: distance to the lateral and third ventricles in steps of `DISTANCE_MM`.
    """

    tissues: np.ndarray
    brain: np.ndarray
    lesions: np.ndarray
    ventricle_mm: np.ndarray


def read_labels(volume: Volume, name: str) -> np.ndarray:
    """Return a label map's whole numbers.

    Raises:
        InputError: values that no label map has.
    """
    labels = np.rint(volume.array)
    if np.abs(labels - volume.array).max() > 1e-3 or labels.min() < 0 or labels.max() > 65535:
        raise InputError(
            f"{name}: holds other values than labels from 0 to 65535; give a label map, resampled "
            "by nearest neighbour"
        )
    return labels.astype(np.uint16)


def partial_volumes(labels: Volume, matrix: np.ndarray, grid: Volume, name: str) -> PartialVolumes:
    """Return the shares of a label map on a grid.

    Each voxel of the grid is looked up at 27 points: a box average of the one-hot map, which is
    what a scanner's voxel holds. Label numbers are never interpolated.

    Args:
        labels: `(D, H, W)` whole numbers, see `read_labels`.
        matrix: `(4, 4)` from the grid's world to the label map's, mm.
        grid: the grid of the bank; its voxels are not used.
        name: name of the map, for messages.

    Raises:
        InputError: see `class_of_label`.
    """
    present = np.unique(labels.array)
    table = class_of_label(present, name)
    sets = np.zeros((3, len(table)), dtype=bool)
    for row, members in zip(sets, (LESIONS, LATERAL, OUTSIDE), strict=True):
        row[[label for label in members if label < len(table)]] = True
    lesion, lateral, outside = sets
    outside[0] = True
    shape = grid.array.shape
    counts = np.zeros((len(CLASSES) + 1, *shape), dtype=np.uint8)
    own, wall, tissue = (np.zeros(shape, dtype=np.uint8) for _ in range(3))
    to_labels = np.linalg.inv(labels.affine) @ matrix @ grid.affine
    for offset in np.ndindex(PARTS, PARTS, PARTS):
        shift = (np.array(offset) + 0.5) / PARTS - 0.5
        found = _looked_up(labels.array, to_labels, shape, shift)
        classes = table[found]
        for index in range(len(CLASSES)):
            counts[index] += classes == index
        own += lesion[found]
        wall += lateral[found]
        tissue += ~outside[found]
    whole = PARTS**3
    tissues = _scaled(counts[:-1], whole)
    spacing = grid.spacing_mm
    distance = ndimage.distance_transform_edt(wall < whole / 2, spacing)
    csf = counts[CLASSES.index("sulcal CSF")] + counts[CLASSES.index("vessels")]
    brain = _brain_mask(tissue > whole / 2, csf > whole / 2, spacing)
    # Shares of the border, the mask's own side of one half on either side.
    half = whole // 2
    share = np.where(brain, np.maximum(tissue + csf, half + 1), np.minimum(tissue, half))
    near = ndimage.binary_dilation(brain)
    return PartialVolumes(
        tissues=tissues,
        brain=_scaled(np.where(near, share, 0).clip(0, whole), whole),
        lesions=_scaled(own, whole),
        ventricle_mm=np.rint(distance / DISTANCE_MM).clip(0, 255).astype(np.uint8),
    )


def _looked_up(
    labels: np.ndarray, to_labels: np.ndarray, shape: tuple[int, ...], shift: np.ndarray
) -> np.ndarray:
    """The nearest label at every voxel of a grid, moved by part of a voxel; 0 outside."""
    origin = to_labels[:3, :3] @ shift + to_labels[:3, 3]
    found: Any = np.zeros(shape, dtype=np.int64)
    inside: Any = np.ones(shape, dtype=bool)
    for axis, length in enumerate(labels.shape):
        steps = [
            to_labels[axis, other] * np.arange(n, dtype=np.float32) for other, n in enumerate(shape)
        ]
        place = steps[0][:, None, None] + steps[1][:, None] + steps[2] + np.float32(origin[axis])
        index = np.rint(place).astype(np.int64)
        inside &= (index >= 0) & (index < length)
        found = found * length + index.clip(0, length - 1)
    return np.where(inside, labels.reshape(-1)[found], 0)


def _scaled(counts: np.ndarray, whole: int) -> np.ndarray:
    return np.rint(counts * (255 / whole)).astype(np.uint8)


def _brain_mask(
    tissue: np.ndarray, csf: np.ndarray, spacing: tuple[float, float, float]
) -> np.ndarray:
    """Tissue, the CSF of its sulci, and a rim of CSF: what skull stripping leaves."""
    tissue = largest_region(tissue)
    away = ndimage.distance_transform_edt(~tissue, spacing)
    grown = away <= CLOSED_MM
    closed = ndimage.distance_transform_edt(np.pad(grown, 1), spacing)[1:-1, 1:-1, 1:-1]
    hull = closed > CLOSED_MM
    brain = tissue | (csf & (hull | (away <= RIM_MM)))
    return ndimage.binary_fill_holes(brain)

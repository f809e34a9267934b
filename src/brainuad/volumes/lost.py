"""Voxels that are NaN or infinite: outside the head they are background, inside an error."""

from pathlib import Path

import numpy as np
from scipy import ndimage

from brainuad.errors import InputError
from brainuad.volumes.planes import filled
from brainuad.volumes.regions import largest_region

BRIGHT = 0.1
"""Share of the 99th percentile of what differs from the background that a head's voxels have."""

MOSTLY = 0.5
"""Share of a lost region's surroundings that is head from which on the region lies in it."""


def without_lost(path: Path, array: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """A scan whose NaN and infinite voxels have the value of its background.

    Args:
        path: that it was read from.
        array: `(D, H, W)`.

    Returns:
        The array, and which voxels were lost, bool; None where none were.

    Raises:
        InputError: nothing else is there.
    """
    lost = ~np.isfinite(array)
    if not lost.any():
        return array, None
    if lost.all():
        raise InputError(f"{path}: nothing but NaN or infinite voxels; export the scan again")
    border = border_of(array)
    border = border[np.isfinite(border)]
    # A background of NaN alone is the lowest value: 0, where nothing lies below it.
    value = np.median(border) if border.size else min(0.0, float(array[~lost].min()))
    return np.where(lost, np.float32(value), array), lost


def border_of(array: np.ndarray) -> np.ndarray:
    """The voxels of the array's faces, flat; of one plane, those of its rim."""
    wide = [axis for axis in range(3) if array.shape[axis] > 1] or [0]
    return np.concatenate([np.take(array, (0, -1), axis).ravel() for axis in wide])


def head_of(array: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """Return the head, or the brain of an extracted scan: the largest bright region, filled.

    Args:
        array: result of `without_lost`.
        lost: likewise.

    Returns:
        `(D, H, W)` bool.
    """
    differs = np.abs(array - np.median(border_of(array)))
    bright = (differs > BRIGHT * np.percentile(differs[~lost], 99)) & ~lost
    return filled(largest_region(bright))


def require_outside(path: Path, lost: np.ndarray, inside: np.ndarray) -> None:
    """Refuse a scan that has lost a part of its head or brain.

    What reaches the edge of the array was never scanned. What lies apart from it is lost if most
    voxels around it are `inside`.

    Args:
        path: that the scan was read from.
        lost: result of `without_lost`.
        inside: `(D, H, W)` bool, of `head_of` or a brain mask.

    Raises:
        InputError: NaN or infinite voxels lie inside.
    """
    labels, _ = ndimage.label(lost, np.ones((3, 3, 3)))
    unscanned = np.unique(border_of(labels))
    held = np.where(np.isin(labels, unscanned), 0, labels)
    count = 0
    for number, box in enumerate(ndimage.find_objects(held), start=1):
        if box is None:
            continue
        wider = tuple(slice(max(part.start - 1, 0), part.stop + 1) for part in box)
        own = held[wider] == number
        around = ndimage.binary_dilation(own) & ~own
        if inside[wider][around].mean() > MOSTLY:
            count += int(own.sum())
    if count:
        raise InputError(
            f"{path}: {count} NaN or infinite voxels in its head; replace them by numbers first"
        )

"""Checks of brain masks, and of lesion labels against the brain."""

from pathlib import Path

import numpy as np

from brainuad.errors import InputError
from brainuad.types import Volume
from brainuad.volumes.grids import on_grid
from brainuad.volumes.lost import border_of
from brainuad.volumes.nifti import MAX_CLASSES, read_volume

MOST_ML = 2500.0
"""More than this is no brain, but a head."""

BORDER = 0.5
"""Share of the array's faces that a brain does not reach, however closely it was cropped."""

OVER = 0.05
"""Share of their range that resampling lifts probabilities above it or puts them below 0."""

COVERED = 0.8
"""Share of the brain that no lesion covers."""

INSIDE = 0.5
"""Least share of a lesion that lies in its brain."""

RANGES = (1.0, 100.0, 255.0)
"""Maximum of probabilities; other masks have their own maximum."""


def read_brain_mask(path: Path, like: Volume, notes: list[str] | None = None) -> np.ndarray:
    """Read a brain mask: 0 and another value, classes, or probabilities, which are cut at half.

    Args:
        path: a NIfTI file.
        like: the scan on whose grid it must be, see `on_grid`.
        notes: gets what was odd.

    Returns:
        `(D, H, W)` bool.

    Raises:
        InputError: as `read_volume`, another grid, or a mask that is no brain: negative, empty,
            without a background, inverted, or larger than a brain.
    """
    notes = [] if notes is None else notes
    volume = on_grid(path, read_volume(path), like, notes)
    array = volume.array
    most = float(array.max())
    top = next((value for value in RANGES if most <= value * (1 + OVER)), most)
    if array.min() < -OVER * top:
        raise InputError(
            f"{path}: holds {array.min():.3g}, a brain mask holds nothing below 0; threshold it"
        )
    limit = 0.5
    if _is_graded(array, top):
        limit = top / 2
        notes.append(f"{path.name}: holds probabilities up to {most:.4g}; cut at {limit:g}")
    elif most < 1:
        # Two values, the upper one a share: 0 and 0.004 are 0 and 1 that lost their scaling.
        limit = most / 2
    mask = array > limit
    if not mask.any():
        if limit == 0.5 or not array.any():
            raise InputError(f"{path}: is empty; give the mask of the brain")
        raise InputError(f"{path}: holds no probability above {limit:g}; give the brain's mask")
    require_brain(path, mask)
    found_ml = np.count_nonzero(mask) * np.prod(like.spacing_mm) / 1000
    if found_ml > MOST_ML:
        raise InputError(
            f"{path}: marks {found_ml:.0f} ml, more than a brain has; give the mask of the brain, "
            "not of the head"
        )
    return mask


def require_brain(path: Path, mask: np.ndarray) -> None:
    """Refuse a mask, `(D, H, W)` bool, that is no brain: empty, without a background, inverted.

    Raises:
        InputError: it is no brain mask.
    """
    if not mask.any():
        raise InputError(f"{path}: is empty; give the mask of the brain")
    _require_background(path, mask, "a brain")


def require_lesion_of(path: Path, label: np.ndarray, brain: np.ndarray) -> None:
    """Refuse a label that is no lesion of a brain; an empty one is one of a healthy subject.

    Args:
        path: path of the label.
        label: `(D, H, W)` bool.
        brain: on its grid, bool.

    Raises:
        InputError: the label's background is not 0, it is larger than the brain or covers it, or
            lies mostly outside it.
    """
    if not label.any():
        return
    _require_background(path, label, "a lesion")
    marked, inside = np.count_nonzero(label), np.count_nonzero(label & brain)
    whole = np.count_nonzero(brain)
    if marked > whole:
        raise InputError(
            f"{path}: the lesion is {marked / whole:.3g} times as large as the brain; give the "
            "lesion's own label"
        )
    if inside > COVERED * whole:
        raise InputError(
            f"{path}: covers {inside / whole:.0%} of the brain; is it the brain mask? Give the "
            "lesion's own label"
        )
    if inside < INSIDE * marked:
        raise InputError(
            f"{path}: only {inside / marked:.0%} of the lesion lies in the brain; check whose it "
            "is, and its header"
        )


def _require_background(path: Path, mask: np.ndarray, what: str) -> None:
    if mask.all():
        raise InputError(f"{path}: no voxel is 0, it has no background; mark {what} alone by 1")
    share = border_of(mask).mean()
    if share > BORDER:
        raise InputError(
            f"{path}: marks {share:.0%} of the scan's border, where no {what[2:]} is; its "
            "background is not 0, or it is inverted"
        )


def _is_graded(array: np.ndarray, top: float) -> bool:
    """Return whether values between 0 and `top` rise from voxel to voxel, as probabilities do.

    Classes have one value over many voxels.
    """
    if float(array.max()) <= MAX_CLASSES and np.abs(array - np.rint(array)).max() < 1e-3:
        return False
    low, high = OVER * top, (1 - OVER) * top
    between = (array > low) & (array < high)
    both = steps = 0
    for axis in range(3):
        near = np.moveaxis(between, axis, 0)
        pairs = near[:-1] & near[1:]
        rise = np.abs(np.diff(np.moveaxis(array, axis, 0), axis=0))
        both += int(np.count_nonzero(pairs))
        steps += int(np.count_nonzero(rise[pairs] > 1e-3 * top))
    # A coarse map may have no two such neighbours; its values are shares all the same.
    alone = both == 0 and between.any() and np.abs(array - np.rint(array)).max() > 1e-3
    return bool(alone or steps > both / 2)

"""A prepared scan of a cohort as tensors."""

from pathlib import Path

import numpy as np
import torch

from brainuad.cohorts.manifest import Scan
from brainuad.errors import InputError
from brainuad.types import Volume
from brainuad.volumes.grids import require_same_grid
from brainuad.volumes.nifti import read_mask, read_volume


def load_scan(scan: Scan) -> tuple[torch.Tensor, torch.Tensor]:
    """Read what a method sees of a prepared scan, and its brain mask.

    Returns:
        `(C, D, H, W)` float32, 0 outside the brain, and `(1, D, H, W)` bool.

    Raises:
        InputError: unreadable, grids differ, an empty mask, or a constant brain.
    """
    volumes = read_channels(scan)
    mask = read_mask(scan.brain_mask, like=volumes[0])
    if not mask.any():
        raise InputError(f"{scan.brain_mask}: the brain mask is empty; make it again")
    images = []
    for path, volume in zip(scan.seen, volumes, strict=True):
        if np.ptp(volume.array[mask]) == 0:
            raise InputError(f"{path}: constant inside the brain; export the scan again")
        images.append(torch.from_numpy(np.where(mask, volume.array, np.float32(0)))[None])
    # One channel stays as it lies in memory.
    image = images[0] if len(images) == 1 else torch.cat(images)
    return image, torch.from_numpy(mask)[None]


def read_channels(scan: Scan) -> list[Volume]:
    """Read the volume of each channel that a method sees of a scan.

    Raises:
        InputError: unreadable, or the channels are on different grids.
    """
    volumes = [read_volume(path) for path in scan.seen]
    for path, volume in zip(scan.seen, volumes, strict=True):
        require_one_grid(path, volume, scan.seen[0], volumes[0])
    return volumes


def require_one_grid(path: Path, volume: Volume, first: Path, like: Volume) -> None:
    """Raise InputError when a channel, read from `path`, is not on the grid of the first."""
    try:
        require_same_grid(path, volume, like)
    except InputError:
        raise InputError(
            f"{path}: lies on another grid than {first}; prepare both with brainuad-prepare, which "
            "registers the sequences of a subject to one another (preparation.steps.between)"
        ) from None

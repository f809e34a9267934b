"""A prepared scan of a cohort as tensors."""

import numpy as np
import torch

from brainuad.cohorts.manifest import Scan
from brainuad.errors import InputError
from brainuad.volumes.nifti import read_mask, read_volume


def load_scan(scan: Scan) -> tuple[torch.Tensor, torch.Tensor]:
    """Reads a prepared scan: image `(1, D, H, W)` float32 and brain mask `(1, D, H, W)` bool.

    Raises:
        InputError: unreadable, grids differ, an empty mask, or a constant brain.
    """
    volume = read_volume(scan.image)
    mask = read_mask(scan.brain_mask, like=volume)
    if not mask.any():
        raise InputError(f"{scan.brain_mask}: the brain mask is empty; make it again")
    if np.ptp(volume.array[mask]) == 0:
        raise InputError(f"{scan.image}: constant inside the brain; export the scan again")
    image = np.where(mask, volume.array, np.float32(0))
    return torch.from_numpy(image)[None], torch.from_numpy(mask)[None]

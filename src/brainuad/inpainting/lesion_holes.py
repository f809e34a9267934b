"""Holes in the shapes of real lesions, from masks that the user has."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from brainuad.data.nifti import read_volume
from brainuad.errors import InputError
from brainuad.inpainting.holes import draw_places, drawn, place_coordinates

_SIDE = 48


@dataclass(frozen=True)
class LesionHoles:
    """Unions of lesions' outlines, moved, turned, mirrored and scaled at random; on slices.

    Args:
        folder: of lesion masks (NIfTI, any grid); a lesion's outline is its largest axial slice.
        radius: half the longer side of an outline, as a share of the slice's shorter side, uniform
            between the two.
        most: outlines a slice, uniform in 1 to this.
        min_voxels: smaller lesions are left out.

    Raises:
        InputError: no mask there, or none with a lesion of that size.
    """

    folder: Path
    radius: tuple[float, float] = (0.05, 0.25)
    most: int = 3
    min_voxels: int = 30
    outlines: Tensor = field(init=False, repr=False, compare=False)
    """`(N, 1, side, side)` in [0, 1]."""

    def __post_init__(self) -> None:
        paths = sorted(Path(self.folder).glob("**/*.nii*"))
        found = [outline for path in paths for outline in _outlines(path, self.min_voxels)]
        if not found:
            raise InputError(f"{self.folder}: no lesion mask of {self.min_voxels} voxels; check it")
        object.__setattr__(self, "outlines", torch.from_numpy(np.stack(found))[:, None])

    def __call__(self, brain_mask: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """See `holes`.

        Raises:
            ValueError: volumes, not slices.
        """
        if brain_mask.ndim != 4:
            raise ValueError("lesion outlines are for slices; use ShapeHoles in volumes")
        batch, size = len(brain_mask), brain_mask.shape[2:]
        draw = drawn(torch.rand, (batch, self.most, 4), brain_mask, generator)
        turns = drawn(torch.randn, (batch, self.most, 2, 2), brain_mask, generator)
        which = (draw[..., 0] * len(self.outlines)).long()
        low, high = self.radius
        radius = min(size) * (low + (high - low) * draw[..., 1])
        centres = draw_places(brain_mask, draw[..., 2])
        # A random orthogonal matrix mirrors as often as not.
        local = place_coordinates(size, centres, torch.linalg.qr(turns)[0])
        local = (local / radius[..., None, None]).movedim(2, -1).flip(-1)
        shapes = self.outlines.to(brain_mask.device)[which.flatten()]
        laid = functional.grid_sample(
            shapes, local.reshape(batch * self.most, *size, 2), align_corners=False
        ).reshape(batch, self.most, *size)
        number = (draw[..., 3][:, :1] * self.most).floor()
        used = torch.arange(self.most, device=number.device) <= number
        return ((laid > 0.5) & used[..., None, None]).any(1, keepdim=True) & brain_mask


def _outlines(path: Path, min_voxels: int) -> Sequence[np.ndarray]:
    labels, _ = ndimage.label(read_volume(path).array > 0.5)
    sizes = np.bincount(labels.ravel())
    found = []
    for number in np.flatnonzero(sizes[1:] >= min_voxels) + 1:
        lesion = labels == number
        largest = lesion[:, :, lesion.sum((0, 1)).argmax()]
        box = largest[ndimage.find_objects(largest.astype(np.uint8))[0]]
        side = max(box.shape)
        square = np.zeros((side, side), np.float32)
        corner = [(side - length) // 2 for length in box.shape]
        square[corner[0] : corner[0] + box.shape[0], corner[1] : corner[1] + box.shape[1]] = box
        scaled = functional.interpolate(
            torch.from_numpy(square)[None, None], (_SIDE, _SIDE), mode="bilinear", antialias=True
        )
        found.append(scaled[0, 0].numpy())
    return found

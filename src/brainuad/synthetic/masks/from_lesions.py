"""Regions to fill in the shapes of real lesions, from the user's masks."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from brainuad.errors import InputError
from brainuad.synthetic.grids import Spacing, draw_places, drawn, pixel_size, place_coordinates
from brainuad.synthetic.masks.random import Region
from brainuad.volumes.nifti import read_volume

_SIDE = {2: 48, 3: 32}


@dataclass(frozen=True)
class LesionHoles:
    """Unions of real lesions, moved, turned, mirrored and scaled at random.

    Slices get lesions' outlines, each of its largest axial slice; volumes get whole lesions.

    Args:
        folder: folder of lesion masks (NIfTI, any grid).
        radius: half the longest side of a lesion, uniform between the two; in mm if `spacing_mm`
            is given, otherwise as a share of the image's shorter side.
        most: lesions a sample, uniform in 1 to this.
        min_voxels: smaller lesions are left out.
        region: region of the centres; None for the whole brain.
        spacing_mm: edge length of a pixel.

    Raises:
        InputError: when they are read: no mask there, or none with a lesion of that size.
    """

    folder: Path
    radius: tuple[float, float] = (0.05, 0.25)
    most: int = 3
    min_voxels: int = 30
    region: Region | None = None
    spacing_mm: Spacing = None

    @cached_property
    def outlines(self) -> Tensor:
        """`(N, 1, side, side)` in [0, 1]; read when the first slice asks for them.

        A trained model is scored without them, and on machines that do not have them.
        """
        return _cut(Path(self.folder), self.min_voxels, 2)

    @cached_property
    def solids(self) -> Tensor:
        """`(N, 1, side, side, side)` in [0, 1]; read when the first volume asks for them."""
        return _cut(Path(self.folder), self.min_voxels, 3)

    def require(self) -> None:
        """Read the masks now, for slices.

        Raises:
            InputError: see the class.
        """
        _cut(Path(self.folder), self.min_voxels, 2)

    def __call__(self, brain_mask: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """See `holes`."""
        batch, size = len(brain_mask), brain_mask.shape[2:]
        dims = len(size)
        known = self.outlines if dims == 2 else self.solids
        draw = drawn(torch.rand, (batch, self.most, 4), brain_mask, generator)
        turns = drawn(torch.randn, (batch, self.most, dims, dims), brain_mask, generator)
        which = (draw[..., 0] * len(known)).long()
        low, high = self.radius
        radius = low + (high - low) * draw[..., 1]
        room = brain_mask if self.region is None else self.region(brain_mask)
        centres = draw_places(room, draw[..., 2])
        pixel = pixel_size(size, self.spacing_mm, brain_mask.device)
        # A random orthogonal matrix mirrors as often as not.
        local = place_coordinates(size, centres, torch.linalg.qr(turns)[0] * pixel)
        local = (local / radius[..., None, None]).movedim(2, -1).flip(-1)
        laid = functional.grid_sample(
            known.to(brain_mask.device)[which.flatten()],
            local.reshape(batch * self.most, *size, dims),
            align_corners=False,
        ).reshape(batch, self.most, *size)
        number = (draw[..., 3][:, :1] * self.most).floor()
        used = torch.arange(self.most, device=number.device) <= number
        used = used & room.flatten(1).any(1, keepdim=True)
        laid = (laid > 0.5) & used.reshape(*used.shape, *[1] * dims)
        return laid.any(1, keepdim=True) & brain_mask


@lru_cache(maxsize=4)
def _cut(folder: Path, min_voxels: int, dims: int) -> Tensor:
    """Every lesion of the masks in a folder; several shapes of one configuration read them once."""
    found = [
        lesion
        for path in sorted(folder.glob("**/*.nii*"))
        for lesion in _lesions(path, min_voxels, dims)
    ]
    if not found:
        raise InputError(f"{folder}: no lesion mask of {min_voxels} voxels; check it")
    return torch.stack(found)[:, None]


def _lesions(path: Path, min_voxels: int, dims: int) -> Iterator[Tensor]:
    """Each lesion in a square or cube that it just fits into, `(side,) * dims` in [0, 1]."""
    volume = read_volume(path)
    labels, _ = ndimage.label(volume.array > 0.5)
    sizes = np.bincount(labels.ravel())
    boxes = ndimage.find_objects(labels)
    for number in np.flatnonzero(sizes[1:] >= min_voxels) + 1:
        lesion = labels[boxes[number - 1]] == number
        spacing = np.array(volume.spacing_mm)
        if dims == 2:
            largest = lesion[:, :, lesion.sum((0, 1)).argmax()]
            lesion, spacing = (
                largest[ndimage.find_objects(largest.astype(np.uint8))[0]],
                spacing[:2],
            )
        # From -1 to 1 along the longest side, the other sides as long in mm as they are.
        half = np.array(lesion.shape) * spacing / 2
        axes = [torch.linspace(-1, 1, 2 * _SIDE[dims] + 1)[1::2] * half.max() / h for h in half]
        grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flip(-1)
        # Averaged over what a cell covers, where lesions have more voxels than cells.
        fine = torch.from_numpy(lesion.astype(np.float32))[None, None]
        most = [min(length, _SIDE[dims]) for length in lesion.shape]
        coarse = functional.interpolate(fine, most, mode="area")
        laid = functional.grid_sample(coarse, grid[None].float(), align_corners=False)
        yield laid[0, 0]

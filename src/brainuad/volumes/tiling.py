"""Tilings: from volumes to the tiles that a network sees, and back.

The law: `join(split(v)) == v`, exactly, for every volume that is not cropped.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from brainuad.errors import InputError
from brainuad.machine.limits import require_memory

PLANES = {"sagittal": 1, "coronal": 2, "axial": 3}
"""The axis of a `(C, D, H, W)` RAS volume that a slice of each plane fixes."""


class Tiling(Protocol):
    """Contract of a tiling: cuts a volume into tiles and joins them."""

    @property
    def left_right_axis(self) -> int | None:
        """Axis of a tile that runs from left to right; None where tiles differ."""
        ...

    def split(self, volume: Tensor) -> tuple[Tensor, Tensor]:
        """Cut `(C, D, H, W)` into tiles `(N, C, *S)` and their locations `(N, k)` int."""
        ...

    def join(self, tiles: Tensor, locations: Tensor, shape: tuple[int, int, int]) -> Tensor:
        """Put tiles `(N, C, *S)` back into a `(C, D, H, W)` volume of spatial `shape`."""
        ...


@dataclass(frozen=True)
class SliceTiling:
    """Slices of one plane, centred in a fixed frame.

    A slice that is smaller than the frame is padded with zeros, a larger one is covered by
    several frames, whose overlaps are averaged on the way back.

    Args:
        plane: `axial`, `coronal` or `sagittal`.
        size: height and width of the frame in voxels.
        crop: take the frame at the centre of a larger slice alone; what lies outside comes back as
            zeros.
    """

    plane: str = "axial"
    size: tuple[int, int] = (96, 112)
    crop: bool = False

    def __post_init__(self) -> None:
        if self.plane not in PLANES:
            raise ValueError(f"plane is '{self.plane}'; use one of {', '.join(PLANES)}")
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError(f"size is {self.size}; give a height and a width in voxels")

    @property
    def left_right_axis(self) -> int | None:
        """The first; sagittal slices have none."""
        return None if self.plane == "sagittal" else 0

    def split(self, volume: Tensor) -> tuple[Tensor, Tensor]:
        """Cut `(C, D, H, W)` into frames `(N, C, h, w)`; see `Tiling`."""
        slices = volume.movedim(PLANES[self.plane], 0)
        height, width = self.size
        frames = [len(_offsets(n, m)) for n, m in zip(slices.shape[-2:], self.size, strict=True)]
        _require(volume, [len(slices), *frames, *self.size])
        tiles, locations = [], []
        for top in _offsets(slices.shape[-2], height, self.crop):
            for left in _offsets(slices.shape[-1], width, self.crop):
                tiles.append(_window(slices, (top, left), self.size))
                index = torch.arange(len(slices))
                corner = torch.tensor([top, left]).expand(len(slices), 2)
                locations.append(torch.cat([index[:, None], corner], dim=1))
        return torch.cat(tiles), torch.cat(locations)

    def join(self, tiles: Tensor, locations: Tensor, shape: tuple[int, int, int]) -> Tensor:
        """Put frames back, averaging where they overlap; see `Tiling`."""
        axis = PLANES[self.plane] - 1
        rest = [length for i, length in enumerate(shape) if i != axis]
        # A slice is a frame of one plane in the volume with its axis first.
        found = _joined(tiles[:, :, None], locations, (shape[axis], *rest))
        return found.movedim(1, axis + 1)


@dataclass(frozen=True)
class PlanesTiling:
    """Slices of several planes in one frame: a voxel's value is the mean over the planes.

    Args:
        planes: names of planes of `SliceTiling`, each once.
        size: height and width of the frame in voxels, for all planes.
    """

    planes: tuple[str, ...] = ("axial", "coronal", "sagittal")
    size: tuple[int, int] = (112, 112)

    def __post_init__(self) -> None:
        if not self.planes or len(set(self.planes)) < len(self.planes):
            raise ValueError(f"planes is {self.planes}; name each plane once, at least one")
        _ = self._parts

    @property
    def _parts(self) -> list[SliceTiling]:
        return [SliceTiling(plane, self.size) for plane in self.planes]

    @property
    def left_right_axis(self) -> int | None:
        """The first, without sagittal slices."""
        return None if "sagittal" in self.planes else 0

    def split(self, volume: Tensor) -> tuple[Tensor, Tensor]:
        """Return the frames `(N, C, h, w)` of all planes, and locations `(N, 4)`, planes first."""
        tiles, locations = zip(*(part.split(volume) for part in self._parts), strict=True)
        numbered = [functional.pad(found, (1, 0), value=i) for i, found in enumerate(locations)]
        return torch.cat(tiles), torch.cat(numbered)

    def join(self, tiles: Tensor, locations: Tensor, shape: tuple[int, int, int]) -> Tensor:
        """Put each plane back and average them; see `Tiling`."""
        total = torch.zeros(tiles.shape[1], *shape, dtype=torch.float64)
        for number, part in enumerate(self._parts):
            here = locations[:, 0] == number
            total += part.join(tiles[here], locations[here, 1:], shape)
        return (total / len(self.planes)).to(tiles.dtype)


@dataclass(frozen=True)
class VolumeTiling:
    """The whole volume as one tile, for methods that see a scan at once.

    Args:
        size: depth, height and width of a fixed frame in voxels, in which the volume is centred:
            padded with zeros where it is smaller, covered by several frames, averaged where they
            overlap, where it is larger. None gives each volume as it is.
        whole: refuse volumes that are larger than the frame: for methods that know each place,
            whose frames of one volume would all be taken for the same place.
    """

    size: tuple[int, int, int] | None = None
    whole: bool = False

    def __post_init__(self) -> None:
        if self.size is not None and (len(self.size) != 3 or min(self.size) < 1):
            raise ValueError(f"size is {self.size}; give a depth, height and width in voxels")

    @property
    def left_right_axis(self) -> int | None:
        """The first."""
        return 0

    def split(self, volume: Tensor) -> tuple[Tensor, Tensor]:
        """`(C, D, H, W)` to `(N, C, *size)`, N = 1 where a frame holds it all; see `Tiling`.

        Raises:
            InputError: it does not, and `whole` is set.
        """
        size = self.size or volume.shape[1:]
        if self.whole and any(a > b for a, b in zip(volume.shape[1:], size, strict=True)):
            given, own = (" x ".join(map(str, shape)) for shape in (volume.shape[1:], size))
            raise InputError(
                f"a scan of {given} voxels does not fit into the frame of {own}; prepare it on the "
                "grid of the training scans, or train with a larger tiling.size"
            )
        starts = [
            _offsets(length, frame) for length, frame in zip(volume.shape[1:], size, strict=True)
        ]
        corners = list(product(*starts))
        _require(volume, [len(corners), *size])
        tiles = [_window(volume, corner, size) for corner in corners]
        return torch.stack(tiles), torch.tensor(corners)

    def join(self, tiles: Tensor, locations: Tensor, shape: tuple[int, int, int]) -> Tensor:
        """Put frames back, averaging where they overlap; see `Tiling`."""
        return _joined(tiles, locations, shape)


def _require(volume: Tensor, lengths: Sequence[int]) -> None:
    """Refuse frames that do not fit into memory: a model says how large they are."""
    count = math.prod(int(n) for n in lengths) * volume.shape[0] * volume.element_size()
    require_memory(count, "tiling.size", "train with a smaller one, or do not trust this model")


def _joined(tiles: Tensor, corners: Tensor, shape: Sequence[int]) -> Tensor:
    """The volume `(C, *shape)` of tiles `(N, C, d, h, w)`, their mean where they overlap."""
    # In float64 the mean of equal float32 values is that value, exactly.
    total = torch.zeros(tiles.shape[1], *shape, dtype=torch.float64)
    count = torch.zeros(1, *shape, dtype=torch.float64)
    for tile, corner in zip(tiles, corners.tolist(), strict=True):
        inside, window = [], []
        for start, length, frame in zip(corner, shape, tile.shape[1:], strict=True):
            low, high = max(start, 0), min(start + frame, length)
            inside.append(slice(low, high))
            window.append(slice(low - start, high - start))
        total[(slice(None), *inside)] += tile[(slice(None), *window)]
        count[(slice(None), *inside)] += 1
    return (total / count.clamp_min(1)).to(tiles.dtype)


def _offsets(length: int, size: int, crop: bool = False) -> list[int]:
    """Start of the fewest windows of `size` that cover `length`; negative when they pad.

    With `crop` one, at the centre.
    """
    if length <= size:
        return [-((size - length) // 2)]
    if crop:
        return [(length - size) // 2]
    count = -(-length // size)
    return [round(i * (length - size) / (count - 1)) for i in range(count)]


def _window(array: Tensor, corner: Sequence[int], size: Sequence[int]) -> Tensor:
    """The frame at `corner` of the last axes, zero outside the array."""
    pad: list[int] = []
    for axis, (start, frame) in enumerate(zip(corner, size, strict=True), start=-len(size)):
        low, high = max(start, 0), min(start + frame, array.shape[axis])
        array = array.narrow(axis, low, high - low)
        # torch pads the last axis first.
        pad = [low - start, start + frame - high, *pad]
    return functional.pad(array, pad)

"""Shapes of synthetic lesions, in slices and volumes; within the brain, but for `CentralBoxes`.

A shape is a callable `(brain_mask, generator) -> share`: `(B, 1, *S)` bool to `(B, 1, *S)`, bool or
float in [0, 1] where its border is soft. Every kind of hole of `brainuad.inpainting` is one, real
lesions' outlines too (`LesionHoles`).

Lengths are in mm where `spacing_mm` is given, otherwise shares of the image's shorter side. A
`region` says where centres may lie: a callable from the brain mask to a mask of the same shape; a
sample in which it is empty gets no lesion.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from brainuad.synthetic.grids import (
    Spacing,
    draw_places,
    drawn,
    kth_smallest,
    pixel_size,
    place_coordinates,
    smoothed,
)
from brainuad.synthetic.masks.random import Region

Shape = Callable[[Tensor, torch.Generator | None], Tensor]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Ellipsoids:
    """Ellipsoids of random turn (ellipses in slices).

    Args:
        radius: lengths of the half axes, each uniform between the two.
        number: a sample's, uniform from the one to the other; they are united.
        region: see the module.
        spacing_mm: see the module.
    """

    radius: tuple[float, float] = (0.05, 0.2)
    number: tuple[int, int] = (1, 1)
    region: Region | None = None
    spacing_mm: Spacing = None

    def __call__(self, brain_mask: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """See the module."""
        squares, used, _ = self.draw(brain_mask, generator)
        inside = (squares < 1) & used.reshape(*used.shape, *[1] * (brain_mask.ndim - 2))
        return inside.any(1, keepdim=True) & brain_mask

    def draw(
        self, brain_mask: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Squared distances from the centres, 1 on the surfaces: `(B, N, *S)`.

        Returns:
            Them, which of the N are used `(B, N)`, and the centres `(B, N, len(S))` in pixels.
        """
        size, dims = brain_mask.shape[2:], brain_mask.ndim - 2
        turns = drawn(
            torch.randn, (len(brain_mask), self.number[1], dims, dims), brain_mask, generator
        )
        local, used, centres = _placed(self, torch.linalg.qr(turns)[0], brain_mask, generator)
        return local.square().sum(2).reshape(*used.shape, *size), used, centres


@dataclass(frozen=True)
class Boxes:
    """Squares and cubes along the axes, within the brain; those of FPI's code are `CentralBoxes`.

    Args:
        radius: half the side, uniform between the two.
        number: a sample's, uniform from the one to the other; they are united.
        region: see the module.
        spacing_mm: see the module.
    """

    radius: tuple[float, float] = (0.05, 0.2)
    number: tuple[int, int] = (1, 1)
    region: Region | None = None
    spacing_mm: Spacing = None

    def __call__(self, brain_mask: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """See the module."""
        dims = brain_mask.ndim - 2
        straight = torch.eye(dims, device=brain_mask.device).expand(1, 1, dims, dims)
        local, used, _ = _placed(self, straight, brain_mask, generator, equal=True)
        inside = (local.abs().amax(2) < 1) & used[..., None]
        return inside.any(1).reshape(brain_mask.shape) & brain_mask


@dataclass(frozen=True)
class CentralBoxes:
    """One square (cube) a sample, in the middle of the image, whether there is brain or not.

    As in the code of FPI and PII (`self_sup_task.py:33-44`): centre and half side are whole
    pixels, and only the image's border cuts the square.

    Args:
        core: share of each axis, its middle part, in which centres lie; FPI's code has 0.5 for
            brains and 0.8 for abdomens, PII's 0.8.
        radius: half the side, from the first to below the second; shares of the shorter side.
    """

    core: float = 0.5
    radius: tuple[float, float] = (0.05, 0.2)

    def __call__(self, brain_mask: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """See the module."""
        size, dims = brain_mask.shape[2:], brain_mask.ndim - 2
        draw = drawn(torch.rand, (len(brain_mask), dims + 1), brain_mask, generator)
        low, high = (round(share * min(size)) for share in self.radius)
        half = low + (draw[:, 0] * max(high - low, 1)).floor()
        inside = torch.ones_like(brain_mask)
        for axis, length in enumerate(size):
            first, past = (int((1 + sign * self.core) / 2 * length) for sign in (-1, 1))
            centre = first + (draw[:, axis + 1] * (past - first)).floor()
            index = torch.arange(length, device=brain_mask.device)
            along = (index >= (centre - half)[:, None]) & (index < (centre + half)[:, None])
            inside &= along.reshape(-1, 1, *[length if a == axis else 1 for a in range(dims)])
        return inside


@dataclass(frozen=True)
class Blobs:
    """One irregular lesion a sample: where a sum of Gaussians around its centre is highest.

    Args:
        radius: radius of the disc or ball of that size, between the two; the size is met to the
            pixel unless the brain is smaller.
        parts: Gaussians that are summed; one makes a ball.
        region: see the module.
        spacing_mm: see the module.
    """

    radius: tuple[float, float] = (0.05, 0.2)
    parts: int = 6
    region: Region | None = None
    spacing_mm: Spacing = None

    def __call__(self, brain_mask: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """See the module."""
        size, dims, batch = brain_mask.shape[2:], brain_mask.ndim - 2, len(brain_mask)
        pixel = pixel_size(size, self.spacing_mm, brain_mask.device)
        draw = drawn(torch.rand, (batch, 2), brain_mask, generator)
        width = drawn(torch.rand, (batch, self.parts, 1), brain_mask, generator)
        away = drawn(torch.randn, (batch, self.parts, dims), brain_mask, generator)
        low, high = self.radius
        radius = low + (high - low) * draw[:, 0]
        room = brain_mask if self.region is None else self.region(brain_mask)
        centre = draw_places(room, draw[:, 1:])
        # The first stays at the centre, so that the lesion is where it was asked for.
        away = away / away.norm(dim=2, keepdim=True).clamp_min(1e-6)
        away[:, 0] = 0
        away = away * (0.9 * radius)[:, None, None] / pixel
        straight = torch.diag(pixel).expand(1, 1, dims, dims)
        squares = place_coordinates(size, centre + away, straight).square().sum(2)
        sigma = radius[:, None, None] * (0.3 + 0.4 * width)
        field = torch.exp(-0.5 * squares / sigma.square()).sum(1)
        field = field.masked_fill(~brain_mask.flatten(1), -1)
        ball = torch.pi * radius**2 if dims == 2 else 4 / 3 * torch.pi * radius**3
        count = (ball / pixel.prod()).round().long().clamp(1, field.shape[1])
        least = kth_smallest(field, field.shape[1] - count + 1)[:, None]
        inside = (field >= least) & room.flatten(1).any(1, keepdim=True)
        return inside.reshape(brain_mask.shape) & brain_mask


@dataclass(frozen=True)
class Soft:
    """Any shape with a soft border.

    Args:
        shape: bool.
        border: standard deviation of the Gaussian that smooths it; the brain's own border does
            not fade it.
        spacing_mm: see the module.
    """

    shape: Shape
    border: float = 0.01
    spacing_mm: Spacing = None

    def __call__(self, brain_mask: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """See the module."""
        shape = self.shape(brain_mask, generator).float()
        if self.border <= 0:
            return shape
        pixel = pixel_size(brain_mask.shape[2:], self.spacing_mm, brain_mask.device)
        smooth = [self.border / length for length in pixel.tolist()]
        share = smoothed(shape, smooth) / smoothed(brain_mask.float(), smooth).clamp_min(1e-6)
        return share.clamp(0, 1) * brain_mask


@dataclass(frozen=True)
class DepthBand:
    """A region: the brain between two depths under its surface; in slices under their outline.

    Args:
        depth: range, from the first to below the second.
        spacing_mm: see the module.
    """

    depth: tuple[float, float]
    spacing_mm: Spacing = None

    def __call__(self, brain_mask: Tensor) -> Tensor:
        """`(B, 1, *S)` bool to the same."""
        depth = depth_of(brain_mask, pixel_size(brain_mask.shape[2:], self.spacing_mm))
        return (depth >= self.depth[0]) & (depth < self.depth[1]) & brain_mask


def depth_of(brain_mask: Tensor, pixel: Tensor) -> Tensor:
    """Exact distance to the nearest pixel outside the brain; infinite where there is none.

    Args:
        brain_mask: `(B, 1, *S)` bool.
        pixel: `(len(S),)` lengths of a pixel.

    Returns:
        `(B, 1, *S)` float32 in units of `pixel`, 0 outside.
    """
    # The lower envelope of parabolas, an axis after the other (Felzenszwalb and Huttenlocher
    # 2012), by trying all of them: in step for the whole batch, which beats fewer steps apart.
    squares = torch.where(brain_mask, torch.inf, 0.0)
    for axis, length in enumerate(pixel.tolist(), start=2):
        index = torch.arange(squares.shape[axis], device=squares.device)
        index = index.reshape(-1, *[1] * (squares.ndim - axis - 1))
        found = torch.full_like(squares, torch.inf)
        for place in range(squares.shape[axis]):
            across = ((index - place) * length).square()
            found = torch.minimum(found, squares.narrow(axis, place, 1) + across)
        squares = found
    return squares.sqrt()


def with_spacing(part: _T, spacing_mm: Spacing) -> _T:
    """A corruption, shape or region whose lengths are in mm, on a grid of this spacing.

    Args:
        part: made of dataclasses; those in it are changed too.
        spacing_mm: edge lengths of a pixel along the axes.
    """
    if isinstance(part, list | tuple):
        return type(part)(with_spacing(item, spacing_mm) for item in part)
    if not dataclasses.is_dataclass(part) or isinstance(part, type):
        return part
    changes: dict[str, Any] = {
        entry.name: spacing_mm
        if entry.name == "spacing_mm"
        else with_spacing(getattr(part, entry.name), spacing_mm)
        for entry in dataclasses.fields(part)
        if entry.init
    }
    return dataclasses.replace(part, **changes)


def _placed(
    shapes: Ellipsoids | Boxes,
    turns: Tensor,
    brain_mask: Tensor,
    generator: torch.Generator | None,
    equal: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return pixels relative to the drawn shapes, in half axes; which are used; their centres."""
    size, dims, batch = brain_mask.shape[2:], brain_mask.ndim - 2, len(brain_mask)
    fewest, most = shapes.number
    draw = drawn(torch.rand, (batch, most, dims + 2), brain_mask, generator)
    low, high = shapes.radius
    radius = low + (high - low) * (draw[..., :1] if equal else draw[..., :dims])
    room = brain_mask if shapes.region is None else shapes.region(brain_mask)
    centres = draw_places(room, draw[..., dims])
    pixel = pixel_size(size, shapes.spacing_mm, brain_mask.device)
    local = place_coordinates(size, centres, turns * pixel) / radius[..., None]
    number = (fewest + (most - fewest + 1) * draw[:, :1, -1]).floor()
    used = torch.arange(most, device=number.device) < number
    return local, used & room.flatten(1).any(1, keepdim=True), centres

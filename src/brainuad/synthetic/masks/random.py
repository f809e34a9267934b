"""Random regions to fill for the training of inpainting, drawn on the device within the brain.

Every kind of hole is a callable `(brain_mask, generator) -> hole`, both `(B, 1, *S)` bool, in 2D
and in 3D. With the same generator the holes are the same.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from brainuad.synthetic.grids import draw_places, drawn, place_coordinates, smoothed

Holes = Callable[[Tensor, torch.Generator | None], Tensor]
Region = Callable[[Tensor], Tensor]
"""Function from brain masks to the region of the centres, both `(B, 1, *S)` bool."""


@dataclass(frozen=True)
class ShapeHoles:
    """Unions of balls, boxes and ellipsoids of random size, place, turn and number.

    Of a slice's shapes as many are used as come closest to the share that it drew.

    Args:
        share: hidden share of the brain, uniform between the two.
        radius: radius of a shape, as a share of the slice's shorter side, between the two.
        most: shapes a slice.
    """

    share: tuple[float, float] = (0.05, 0.4)
    radius: tuple[float, float] = (0.03, 0.2)
    most: int = 8

    def __call__(self, brain_mask: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """See the module."""
        size = brain_mask.shape[2:]
        batch, dims = len(brain_mask), len(size)
        draw = drawn(torch.rand, (batch, self.most, 2 * dims + 3), brain_mask, generator)
        turns = drawn(torch.randn, (batch, self.most, dims, dims), brain_mask, generator)
        low, high = self.radius
        radii = min(size) * (low + (high - low) * draw[..., :dims])
        kind = (3 * draw[..., dims]).long()
        # Of the three kinds, ellipsoids alone have axes of their own.
        radii = torch.where((kind < 2)[..., None], radii[..., :1], radii)
        centres = draw_places(brain_mask, draw[..., dims + 1])
        local = place_coordinates(size, centres, torch.linalg.qr(turns)[0]) / radii[..., None]
        squares = local.square()
        distance = torch.where((kind == 1)[..., None], squares.amax(2), squares.sum(2))
        inside = (distance < 1).reshape(batch, self.most, *size) & brain_mask
        unions = inside.cummax(1).values
        brain = brain_mask.flatten(1).sum(1, keepdim=True).clamp_min(1)
        shares = unions.flatten(2).sum(2) / brain
        low, high = self.share
        wanted = low + (high - low) * draw[:, :1, -1]
        best = (shares - wanted).abs().argmin(1)
        return unions[torch.arange(batch, device=best.device), best][:, None]


@dataclass(frozen=True)
class BlobHoles:
    """Irregular blobs: where smoothed noise is highest.

    Args:
        share: hidden share of the brain, uniform between the two, met to the pixel.
        smoothness: standard deviation of the smoothing, as a share of the slice's shorter side.
    """

    share: tuple[float, float] = (0.05, 0.4)
    smoothness: float = 0.06

    def __call__(self, brain_mask: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """See the module."""
        size = brain_mask.shape[2:]
        noise = drawn(torch.randn, brain_mask.shape, brain_mask, generator)
        share = drawn(torch.rand, (len(brain_mask), 1), brain_mask, generator)
        smooth = smoothed(noise, [self.smoothness * min(size)] * len(size))
        flat = smooth.flatten(1).masked_fill(~brain_mask.flatten(1), -torch.inf)
        low, high = self.share
        count = brain_mask.flatten(1).sum(1, keepdim=True)
        hidden = ((low + (high - low) * share) * count).round().long()
        rank = flat.argsort(1, descending=True).argsort(1)
        return (rank < hidden).reshape(brain_mask.shape) & brain_mask

"""Holes to train inpainting on: random draws, on the device, within the brain.

Every kind of hole is a callable `(brain_mask, generator) -> hole`, both `(B, 1, *S)` bool, in 2D
and in 3D. With the same generator the holes are the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Holes = Callable[[Tensor, torch.Generator | None], Tensor]
Region = Callable[[Tensor], Tensor]
"""From brain masks to where in them centres may lie, both `(B, 1, *S)` bool."""
Spacing = float | Sequence[float] | None


@dataclass(frozen=True)
class ShapeHoles:
    """Unions of balls, boxes and ellipsoids of random size, place, turn and number.

    Of a slice's shapes as many are used as come closest to the share that it drew.

    Args:
        share: of the brain that is hidden, uniform between the two.
        radius: of a shape, as a share of the slice's shorter side, uniform between the two.
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
        share: of the brain that is hidden, uniform between the two, met to the pixel.
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


def drawn(
    draw: Callable[..., Tensor],
    shape: Sequence[int],
    like: Tensor,
    generator: torch.Generator | None,
) -> Tensor:
    """`torch.rand` or `randn` on the generator's device, if there is one, moved to `like`'s."""
    here = like.device if generator is None else generator.device
    return draw(*shape, generator=generator, device=here).to(like.device)


def pixel_size(
    size: Sequence[int], spacing_mm: Spacing, device: torch.device | None = None
) -> Tensor:
    """Lengths of a pixel: `(len(S),)` in mm if the spacing is known, or in shorter sides of `S`."""
    if spacing_mm is None:
        return torch.full((len(size),), 1 / min(size), device=device)
    lengths = torch.as_tensor(spacing_mm, dtype=torch.float32, device=device)
    return lengths.expand(len(size))


def smoothed(image: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Sums weighted by a Gaussian of height one that ends at four standard deviations.

    Args:
        image: `(B, C, *S)` float.
        sigmas: standard deviations in pixels, an axis each.
    """
    # As products of matrices: on a CPU convolutions of one channel take several times as long.
    for axis, sigma in enumerate(sigmas, start=2):
        index = torch.arange(image.shape[axis], device=image.device)
        away = (index - index[:, None]).abs()
        weight = torch.exp(-0.5 * (away / sigma).square()) * (away <= 4 * sigma)
        with torch.autocast(image.device.type, enabled=False):
            image = (image.movedim(axis, -1) @ weight).movedim(-1, axis)
    return image


def draw_places(brain_mask: Tensor, uniform: Tensor) -> Tensor:
    """Pixels of the brain, each as likely as the other.

    Args:
        brain_mask: `(B, 1, *S)` bool.
        uniform: `(B, N)` in [0, 1).

    Returns:
        `(B, N, len(S))` float32 coordinates in pixels; of no use where there is no brain.
    """
    cumulative = brain_mask.flatten(1).cumsum(1)
    wanted = (uniform * cumulative[:, -1:]).floor().long() + 1
    index = torch.searchsorted(cumulative, wanted).clamp_max(cumulative.shape[1] - 1)
    return torch.stack(torch.unravel_index(index, brain_mask.shape[2:]), dim=-1).float()


def place_coordinates(size: torch.Size, centres: Tensor, turns: Tensor) -> Tensor:
    """Every pixel as seen from shapes that were moved and turned.

    Args:
        size: `S`.
        centres: `(B, N, len(S))` in pixels.
        turns: `(B, N, len(S), len(S))` orthogonal.

    Returns:
        `(B, N, len(S), prod(S))` in pixels.
    """
    axes = [torch.arange(n, device=centres.device, dtype=torch.float32) for n in size]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)
    # In bf16, pixels past 256 would fall together.
    with torch.autocast(centres.device.type, enabled=False):
        return turns @ (grid - centres[..., None])

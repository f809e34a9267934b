"""Disentangled anomalies: a foreign texture and a step of intensity in the same place."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from brainuad.synthetic.grids import (
    blurred,
    draw_corners,
    draw_places,
    drawn,
    pixel_grid,
    sampled,
)
from brainuad.synthetic.lesions.contract import Painted, uniform
from brainuad.synthetic.lesions.shapes import Shape

TURNED = 0.5
"""Share of the rectangles that are turned by up to `TURN` (mask_generation.py)."""
TURN = math.radians(15)
SMOOTHED = 0.7
"""Share of the shapes with a soft edge (mask_generation.py, `random_smooth`)."""
LEVELS = (0.00565079, 0.38283867, 0.61224216, 0.76920754, 0.9385473)
"""Intensities that separate tissue (preprocessing.py, `get_ag_transforms`)."""
STEADY = 1000 / 64**2
"""Share of a patch's pixels that is added to a shape's before its levels' shares (bias.py).

The code adds 1000 to those of a patch of 64 x 64.
"""


@dataclass(frozen=True)
class DisentangledAnomalies:
    """DISYRE's anomalies "dag" (Naval Marimont et al. 2024, arXiv 2407.06635).

    As released in snavalm/disyre, folder preprocessing, with `dag2D_camcant1.json`. In a shape h
    inside a patch around a random pixel of the brain,

        y = x + h a (p - x),   z = y + h m b,

    p is a patch of another image, scaled to the range of x where h > 0; a and |b| are uniform; b is
    as often negative as positive; m is 1 (with a soft edge of 1 pixel) where y has one of the drawn
    `levels`, each drawn with the share of h that it has, all of them if none is. h is a
    rectangle, a disc or one of `outlines`, each as often, with an edge of random softness. The
    severity is the larger of a, 0 where nothing changed, and the largest |z - y|.

    Differs from the code: the patch comes from the sample before in the batch, there from the last
    512 patches.

    Args:
        outlines: shapes of the third kind, drawn in a patch that is all brain; real lesions' in
            the code (`LesionHoles`).
        patch: side of the patch in pixels, on every grid.
        side: sides of rectangles, and diameter of discs, in whole pixels, between the two. The
            first is the least distance of a disc from the patch's border too.
        blur: largest standard deviation of an edge, in pixels.
        factor: range of a, uniform between the two.
        step: range of |b|, uniform between the two.
        levels: see above.

    Raises:
        ValueError: shapes that do not fit into the patch.
    """

    outlines: Shape
    patch: int = 64
    side: tuple[int, int] = (10, 44)
    blur: float = 5.0
    factor: tuple[float, float] = (0.0, 1.0)
    step: tuple[float, float] = (0.0, 1.0)
    levels: Sequence[float] = LEVELS

    def __post_init__(self) -> None:
        low, high = self.side
        if not 1 <= low <= high <= self.patch - 2 * low:
            raise ValueError(
                f"side is {list(self.side)} in a patch of {self.patch}; use values from 1 to the "
                "patch's side less twice the smallest"
            )

    def __call__(
        self, image: Tensor, brain_mask: Tensor, generator: torch.Generator | None = None
    ) -> Painted:
        """See `contract`."""
        dims = image.ndim - 2
        shape = self.shapes(image, generator)
        corner = self._corners(brain_mask, generator)
        draw = drawn(torch.rand, (len(image), dims), image, generator)
        donor, tissue = image.roll(1, 0), brain_mask.roll(1, 0)
        shift = draw_corners(tissue, [self.patch] * dims, draw) - corner
        # Where each pixel is in the patch, and in the donor.
        grid = pixel_grid(image)
        here, there = (grid + offset.reshape(-1, *[1] * dims, dims) for offset in (-corner, shift))
        share = sampled(shape, here, "nearest") * brain_mask
        texture = in_range_of(image, sampled(donor.float(), there, "nearest"), share > 0)
        factor = uniform(*self.factor, image, generator)
        mixed = torch.lerp(image, texture.to(image.dtype), (share * factor).to(image.dtype))
        factor = factor.flatten() * (mixed != image).flatten(1).any(1)

        step = uniform(*self.step, image, generator)
        step = torch.where(uniform(0, 1, image, generator) < 0.5, step, -step)
        chosen = self._chosen(mixed, share > 0, generator)
        painted = (mixed + step * share * chosen).clamp(0, 1).to(image.dtype)
        painted = torch.where(share > 0, painted, image)
        change = (painted - mixed).abs().flatten(1).amax(1)
        share = share * (painted != image).any(1, keepdim=True)
        return Painted(painted, share, torch.maximum(factor, change))

    def shapes(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A shape for each sample of a batch, `(B, 1, patch, ...)` in [0, 1]."""
        batch, dims = len(image), image.ndim - 2
        low, high = self.side
        draw = drawn(torch.rand, (batch, 2 * dims + 6), image, generator)
        which, turned, angle, soft, sigma, round_ = draw[:, :6].T
        sides = low + (draw[:, 6 : 6 + dims] * (high - low + 1)).floor()
        radius = ((low + (round_ * (high - low + 1)).floor()) / 2).floor()[:, None]
        place = draw[:, 6 + dims :]
        whole = torch.ones(batch, 1, *[self.patch] * dims, dtype=torch.bool, device=image.device)
        grid = pixel_grid(whole).reshape(1, -1, dims)

        half = (sides / 2).floor()
        centre = half + (place * (self.patch - 2 * half + 1)).floor()
        angle = torch.where(turned < TURNED, (2 * angle - 1) * TURN, 0)
        local = turn(grid - (self.patch - 1) / 2, angle) + (self.patch - 1) / 2
        rectangle = ((local - centre[:, None] + 0.5).abs() < half[:, None]).all(2)

        least = radius + low
        centre = least + (place * (self.patch - 2 * least + 1)).floor()
        # The code's grid runs from 0 to 64 in 64 pixels.
        stretch = self.patch / (self.patch - 1)
        disc = (stretch * grid - centre[:, None]).square().sum(2) <= radius.square()

        kinds = [rectangle, disc, self.outlines(whole, generator).flatten(1) > 0.5]
        which = (which * len(kinds)).long()
        shape = torch.stack(kinds)[which, torch.arange(batch, device=image.device)].float()
        sigma = torch.where(soft < SMOOTHED, self.blur * sigma, 0)
        # Sums of weights may exceed one by a rounding.
        return blurred(shape.reshape(whole.shape), sigma).clamp(0, 1)

    def _corners(self, brain_mask: Tensor, generator: torch.Generator | None) -> Tensor:
        """First pixels `(B, len(S))` of patches around pixels of the brain, within the image.

        Around any pixel where no pixel of the brain is far enough from the image's border.
        """
        half, size = self.patch // 2, brain_mask.shape[2:]
        # The end counts only where there is no brain.
        inner, any_pixel = (torch.ones_like(brain_mask[:1], dtype=torch.bool) for _ in range(2))
        for axis, length in enumerate(size, start=2):
            index = torch.arange(length, device=brain_mask.device)
            index = index.reshape(-1, *[1] * (brain_mask.ndim - 1 - axis))
            first, last = min(half, length // 2), max(length - half, length // 2)
            inner = inner & (index >= first) & (index < last)
            any_pixel = any_pixel & (index >= first) & (index <= last)
        room = brain_mask & inner
        none = ~room.flatten(1).any(1).reshape(-1, *[1] * (brain_mask.ndim - 1))
        draw = drawn(torch.rand, (len(brain_mask), 1), brain_mask, generator)
        return draw_places(torch.where(none, any_pixel, room), draw)[:, 0] - half

    def _chosen(self, image: Tensor, inside: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the pixels of a drawn level, `(B, C, *S)` in [0, 1]; see the class."""
        levels = torch.as_tensor(self.levels, dtype=torch.float32, device=image.device)
        level = torch.bucketize(image.float(), (levels[1:] + levels[:-1]) / 2)
        counts = torch.stack(
            [((level == one) & inside).flatten(1).sum(1) for one in range(len(levels))], dim=1
        )
        steady = STEADY * self.patch**2
        odds = counts / (counts.sum(1, keepdim=True) + steady)
        chosen = drawn(torch.rand, odds.shape, image, generator) < odds
        chosen = chosen | ~chosen.any(1, keepdim=True)
        found = chosen.float().gather(1, level.flatten(1)).reshape(image.shape)
        return blurred(found, found.new_ones(len(found))).clamp(0, 1)


def in_range_of(image: Tensor, texture: Tensor, inside: Tensor) -> Tensor:
    """The texture with the least and the largest value that the image has inside; 0 to 1.

    Args:
        image: `(B, C, *S)`.
        texture: `(B, C, *S)`.
        inside: `(B, 1, *S)` bool; elsewhere the image is returned.
    """
    ends = []
    for values in (texture, image):
        flat, mask = values.flatten(2), inside.flatten(2)
        low = flat.masked_fill(~mask, torch.inf).amin(2)
        high = flat.masked_fill(~mask, -torch.inf).amax(2)
        ends += [end.reshape(*end.shape, *[1] * (image.ndim - 2)) for end in (low, high)]
    low, high, own_low, own_high = ends
    # As in the code, whose 1e-3 keeps an even texture from a division by zero.
    scaled = (texture - low) / (high - low + 1e-3) * (own_high - own_low) + own_low
    return torch.where(inside, scaled.clamp(0, 1), image)


def turn(position: Tensor, angle: Tensor) -> Tensor:
    """Turn positions `(1, N, len(S))` in the plane of the last two axes by `(B,)` radians."""
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    *others, y, x = position.unbind(2)
    others = [other.expand_as(cos * y) for other in others]
    return torch.stack([*others, cos * y - sin * x, sin * y + cos * x], dim=2)

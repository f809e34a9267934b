"""Patterns of regions that hide each pixel of an image several times."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import torch
from torch import Tensor

SHAPES = ("ball", "box", "ellipsoid")

_STRETCH = 1.5


@dataclass(frozen=True)
class CoveringPatterns:
    """Settings of `covering_patterns` for images of any size.

    Args:
        times: number of times that every pixel is hidden, at least; 0 for no patterns.
        sides: sides of the hidden cells, as shares of the image's shorter side, in turn.
        seed: seed of the offsets.

    Raises:
        ValueError: `times` is below 0.
    """

    times: int = 3
    sides: Sequence[float] = (0.12, 0.2)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.times < 0:
            raise ValueError(f"times is {self.times}; use 0 or more")

    def __call__(self, shape: Sequence[int]) -> Tensor:
        """Return the patterns `(P, *S)` for images of this shape."""
        sides = tuple(share * min(shape) for share in self.sides)
        return covering_patterns(tuple(shape), self.times, sides, self.seed)


@cache
def covering_patterns(
    shape: tuple[int, ...], times: int, sizes: Sequence[float], seed: int = 0
) -> Tensor:
    """Return patterns of separate regions that hide every pixel at least `times` times.

    A family tiles the image by cells, of which every second one along each axis makes a pattern,
    so that 2 ** n patterns hide each pixel once; each cell becomes the ball, box or ellipsoid
    around it. Families differ in shape, size and random offset.

    Args:
        shape: `S`, two or three lengths in pixels.
        times: families.
        sizes: sides of the cells in pixels, taken in turn; twice a side is a pattern's period.
        seed: random seed of the offsets.

    Returns:
        `(times * 2 ** len(S), *S)` bool.
    """
    generator = torch.Generator().manual_seed(seed)
    dims = len(shape)
    found = []
    for number in range(times):
        kind = SHAPES[number % len(SHAPES)]
        sides = torch.full((dims,), float(sizes[number % len(sizes)]))
        if kind == "ellipsoid":
            # One axis longer and one shorter, of an area or volume as before.
            sides[number % dims] *= _STRETCH**0.5
            sides[(number + 1) % dims] /= _STRETCH**0.5
        offset = 2 * torch.rand(dims, generator=generator)
        axes = [
            torch.arange(length) / side + start
            for length, side, start in zip(shape, sides, offset, strict=True)
        ]
        for shift in product((0, 1), repeat=dims):
            # From -1 to 1 between the middles of the neighbouring cells that are not hidden.
            local = [(axis + move) % 2 - 0.5 for axis, move in zip(axes, shift, strict=True)]
            local = [torch.where(axis > 1, axis - 2, axis) for axis in local]
            grid = torch.stack(torch.meshgrid(*local, indexing="ij"))
            if kind == "box":
                found.append(((grid >= -0.5) & (grid < 0.5)).all(0))
            else:
                # The circumscribed one; a little more, for the corners' rounding.
                found.append(torch.linalg.vector_norm(grid, dim=0) <= 0.5 * dims**0.5 + 1e-4)
    return torch.stack(found)

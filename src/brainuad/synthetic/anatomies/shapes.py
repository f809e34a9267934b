"""Outlines of real lesions, kept as boxes of one grid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Shape(NamedTuple):
    """The lesions of one person.

    Attributes:
        corner: first voxel of the box; negative where it reaches over the grid.
        share: uint8 box, 255 for a voxel that is all lesion.
    """

    corner: tuple[int, int, int]
    share: np.ndarray


@dataclass(frozen=True)
class Shapes:
    """Lesion shapes of many people.

    Args:
        items: a person each.
        grid: `(D, H, W)` of the grid they are drawn on.
    """

    items: tuple[Shape, ...]
    grid: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.items)

    @classmethod
    def of(cls, masks: Sequence[np.ndarray], grid: tuple[int, ...]) -> "Shapes":
        """Box the shapes of uint8 shares on one grid; empty ones are left out."""
        items = []
        for share in masks:
            where = np.argwhere(share > 0)
            if len(where):
                low, high = where.min(0), where.max(0) + 1
                box = share[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
                items.append(Shape(tuple(int(n) for n in low), np.ascontiguousarray(box)))  # type: ignore[arg-type]
        return cls(tuple(items), tuple(grid))  # type: ignore[arg-type]

    def full(self, index: int) -> np.ndarray:
        """Return one person's lesions on the whole grid, float32 shares in [0, 1]."""
        out = np.zeros(self.grid, dtype=np.float32)
        corner, share = self.items[index]
        first = np.array(corner)
        low, high = first.clip(0), (first + share.shape).clip(0, self.grid)
        if (low < high).all():
            here = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            there = tuple(slice(a, b) for a, b in zip(low - first, high - first, strict=True))
            out[here] = share[there] / np.float32(255)
        return out

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return arrays for a file: corners and sizes `(N, 3)`, and all boxes one after another."""
        boxes = [item.share for item in self.items]
        return {
            "corners": np.array([item.corner for item in self.items], np.int32).reshape(-1, 3),
            "sizes": np.array([box.shape for box in boxes], np.int32).reshape(-1, 3),
            "shares": np.concatenate([box.ravel() for box in boxes] or [np.empty(0, np.uint8)]),
            "grid": np.array(self.grid, np.int32),
        }

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, np.ndarray], first: tuple[int, ...], grid: tuple[int, ...]
    ) -> "Shapes":
        """Return what `to_arrays` gave, on a part of its grid.

        Args:
            arrays: result of `to_arrays`.
            first: first voxel of the part.
            grid: size of the part.

        Raises:
            KeyError: an array is missing.
            ValueError: the arrays do not fit together.
        """
        corners, sizes, shares = arrays["corners"], arrays["sizes"], arrays["shares"]
        if corners.shape != sizes.shape or corners.shape[1:] != (3,) or shares.dtype != np.uint8:
            raise ValueError("not lesion shapes")
        if (sizes < 1).any() or sizes.astype(np.int64).prod(1).sum() != len(shares):
            raise ValueError("boxes do not fill the shares")
        ends = sizes.astype(np.int64).prod(1).cumsum()
        boxes = np.split(shares, ends[:-1]) if len(ends) else []
        items = tuple(
            Shape(tuple(int(n) for n in corner - np.array(first)), box.reshape(size))  # type: ignore[arg-type]
            for corner, size, box in zip(corners, sizes, boxes, strict=True)
        )
        return cls(items, tuple(grid))  # type: ignore[arg-type]

"""The grid that brain-extracted scans of one space are prepared on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from nibabel.affines import apply_affine

from brainuad.cohorts.places import LOST
from brainuad.types import Volume
from brainuad.volumes.grids import SHARE, Grid, share_outside

WORLDS = {2: "of another file", 3: "of Talairach", 4: "of MNI"}
"""Codes of a NIfTI header for worlds that scans can share, and their names."""

ROOM_MM = 4.0
"""Around the usual brain, for another one."""

ELSEWHERE = 0.05
"""Share of a brain outside the usual one's box and room from which on it lies elsewhere."""


@dataclass(frozen=True)
class SharedGrid:
    """The grid that scans of one space are prepared on; plain values, as recipes have them.

    Attributes:
        shape: shape of the prepared grid.
        affine: affine of the prepared grid, `(4, 4)`.
        brain_mm: `(2, 3)`, the lowest and the highest corner of the usual brain, in their world.
        native_shape: shape of the raw scans' grid, RAS axes; empty where they had several.
        native_affine: affine of that grid.
        world: code of the headers that all named one world (`WORLDS`); 0 where they did not.
    """

    shape: Sequence[int]
    affine: Sequence[Sequence[float]]
    brain_mm: Sequence[Sequence[float]]
    native_shape: Sequence[int] = ()
    native_affine: Sequence[Sequence[float]] = ()
    world: int = 0

    def __post_init__(self) -> None:
        sizes = [np.shape(self.affine), np.shape(self.brain_mm), np.shape(self.native_affine)]
        native = (4, 4) if self.native_shape else (0,)
        if sizes != [(4, 4), (2, 3), native] or {len(self.shape), 3} != {3}:
            raise ValueError(f"a grid of {self.shape} voxels with arrays of {sizes}")
        numbers = [*np.ravel(self.affine), *np.ravel(self.brain_mm), *np.ravel(self.native_affine)]
        lengths = [*self.shape, *self.native_shape]
        if not np.isfinite(numbers).all() or not all(0 < n < 2**15 for n in lengths):
            raise ValueError(f"a grid of {lengths} voxels, or with numbers that are not finite")
        if any(abs(np.linalg.det(np.array(a)[:3, :3])) < 1e-9 for a in self._affines):
            raise ValueError("a grid whose affine has no inverse")

    @property
    def _affines(self) -> list[Sequence[Sequence[float]]]:
        return [self.affine, self.native_affine] if self.native_shape else [self.affine]

    @property
    def grid(self) -> Grid:
        """The prepared grid."""
        return Grid(tuple(self.shape), np.array(self.affine, dtype=float))

    @property
    def native(self) -> Grid | None:
        """The grid that the scans came on, RAS axes; None where it was not one."""
        if not self.native_shape:
            return None
        return Grid(tuple(self.native_shape), np.array(self.native_affine, dtype=float))

    def require(self, native: Grid, world: int, brain: Volume) -> None:
        """Refuse a scan of another space.

        Args:
            native: the grid that it came on.
            world: code of its header.
            brain: its brain mask, bool.

        Raises:
            ValueError: neither its grid nor its header says that it is of this space, or its brain
                lies elsewhere.
        """
        at_home = self.native is not None and native.ras().apart(self.native) <= SHARE
        if not at_home and (self.world not in WORLDS or world != self.world):
            wanted = [] if self.native is None else [f"one grid of {self.native.words} voxels"]
            wanted += [f"the world {WORLDS[self.world]}"] if self.world in WORLDS else []
            raise ValueError(
                "it does not lie in the space of the other scans, which share "
                f"{' and '.join(wanted)}; register it to one of them and resample it onto its grid"
            )
        lost = share_outside(brain.array, brain.affine, self.grid)
        if lost > LOST:
            raise ValueError(
                f"{lost:.0%} of its brain lies outside the grid of the scans whose space "
                "it shares; check where its brain lies, or register it to one of them"
            )
        if at_home:
            return
        low, high = np.array(self.brain_mm)
        points = apply_affine(brain.affine, np.argwhere(brain.array))
        away = ((points < low - ROOM_MM) | (points > high + ROOM_MM)).any(axis=1).mean()
        if away > ELSEWHERE:
            raise ValueError(
                f"its header names the world {WORLDS[world]} as those of the other scans do, but "
                f"{away:.0%} of its brain lies where they have none; register it to one of them"
            )

"""Linear registration: rigid between the sequences of a subject, affine to an atlas.

A registration is one `(4, 4)` matrix, fixed world to moving world in RAS mm, so its inverse is the
matrix's inverse and chains of registrations are products: a scan is interpolated once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
from nibabel.affines import apply_affine
from scipy.spatial.transform import Rotation

from brainuad.preparation.register.descent import Level, descend
from brainuad.types import Volume
from brainuad.volumes.itk import FLIP, matrix_of, to_sitk
from brainuad.volumes.orient import right_angles
from brainuad.volumes.resample import resample_spacing

COARSE = 60
"""Iterations of each start of the search."""

SCREEN, BEST = 10, 6
"""Iterations after which starts are compared, and the number of starts that continue."""

CLOSE = 3
"""Number of starts that are compared at the next level."""

SAME_MM = 40.0
"""Starts that end so close to one another at the corners of the fixed image are one; 20 degrees."""

GOOD = 0.75
"""Share of the best one's mutual information below which another is not compared."""


STAGES: dict[str, tuple[str, ...]] = {
    "rigid": ("rigid",),
    "similarity": ("similarity",),
    "affine": ("similarity", "affine"),
}
"""Kind of registration to the transforms that are fitted in turn."""

LEVELS = (Level(4, 6.0, 1.0), Level(2, 3.0, 0.5), Level(1, 1.0, 0.2))


class Registration(NamedTuple):
    """Result of `Register`.

    Attributes:
        matrix: `(4, 4)`, fixed world to moving world, RAS mm.
        similarity: Mattes mutual information in nats at the end, 0 for unrelated images.
        again: stage that was repeated because it had failed, in words; empty for none.
    """

    matrix: np.ndarray
    similarity: float
    again: str = ""


@dataclass(frozen=True)
class Register:
    """Mattes mutual information by regular-step gradient descent, coarse to fine.

    Mutual information fits sequences of any contrast to one another (Mattes et al. 2003, IEEE TMI
    22(1)).

    Args:
        kind: `rigid` (6 parameters), `similarity` (7) or `affine` (12, after a similarity one).
        spacing_mm: voxel size of the finest level; both images are resampled to it.
        iterations: at most, a level.
        turns: also start from the brain turned by right angles, in all 24 ways, and keep what
            fits best.
        distinct: compare only the starts that end apart and are not far worse than the best; a
            fifth faster. False does as version 0.1, whose models keep their masks exactly.
    """

    kind: str = "affine"
    spacing_mm: float = 2.0
    iterations: int = 150
    turns: bool = False
    distinct: bool = False

    def __post_init__(self) -> None:
        if self.kind not in STAGES:
            raise ValueError(f"kind is '{self.kind}'; use rigid, similarity or affine")

    def __call__(
        self,
        fixed: Volume,
        moving: Volume,
        fixed_mask: np.ndarray | None = None,
        careful: bool = False,
    ) -> Registration:
        """Register `moving` to `fixed`.

        A stage that ends worse than it began is done again with a short first step, and the better
        result of the two is kept.

        Args:
            fixed: RAS axes, the atlas or the reference sequence.
            moving: RAS axes.
            fixed_mask: `(D, H, W)` bool on the grid of `fixed` where the images are compared.
            careful: short first steps throughout, and no start is given up early; for images that
                the usual way fails on. With `turns` it takes two to three times as long.

        Raises:
            ValueError: an image is empty, or the two could not be made to overlap.
        """
        # Worlds with their origins in the images: how far off one lies must not tell.
        to_fixed, to_moving = _middle(fixed), _middle(moving)
        fixed = Volume(fixed.array, np.linalg.inv(to_fixed) @ fixed.affine)
        moving = Volume(moving.array, np.linalg.inv(to_moving) @ moving.affine)
        still, moved = (scaled_image(volume, self.spacing_mm) for volume in (fixed, moving))
        mask = None
        if fixed_mask is not None:
            share = resample_spacing(
                Volume(fixed_mask.astype(np.float32), fixed.affine), self.spacing_mm
            )
            mask = to_sitk(Volume(share.array > 0.5, share.affine))
        matrix = self._search(still, moved, mask, careful)
        stages = STAGES[self.kind]
        again: list[str] = []
        value = 0.0
        for stage in stages:
            # An earlier stage only brings the last one near.
            levels = LEVELS if stage == stages[-1] else LEVELS[:2]
            task = still, moved, matrix, mask, stage, levels, self.iterations
            found = descend(*task, careful)
            if found.lost and not careful:
                other = descend(*task, careful=True)
                if other.value < found.value:
                    found = other
                    again.append(f"the {stage} stage ended worse than it began")
            matrix, value = found.matrix, found.value
        said = f"{'; '.join(again)}; done again with a short first step" if again else ""
        return Registration(to_moving @ matrix @ np.linalg.inv(to_fixed), -value, said)

    def _search(
        self, still: sitk.Image, moved: sitk.Image, mask: sitk.Image | None, careful: bool
    ) -> np.ndarray:
        """The best of several starts after the coarsest level: gradient descent alone gets lost.

        Heads lie tilted by up to some 30 degrees; `turns` adds those that lie on a side.
        """
        coarse = LEVELS[0]
        # Smoothed once for all starts.
        pair = [sitk.SmoothingRecursiveGaussian(i, coarse.smooth_mm) for i in (still, moved)]
        level = coarse._replace(smooth_mm=0.0)
        if self.turns:
            # So many starts are tried on shrunk images, a twentieth of the time. Where the
            # moving image is a head with its skull, that is too coarse: `turns` is for brains.
            pair = [sitk.Shrink(image, [coarse.shrink] * 3) for image in pair]
            level = level._replace(shrink=1)
        kind = "rigid" if self.kind == "rigid" else "similarity"

        def tried(
            pair: Sequence[sitk.Image], starts: list[np.ndarray], level: Level, iterations: int
        ) -> list[Registration]:
            """The best first."""
            found = [
                descend(pair[0], pair[1], start, mask, kind, (level,), iterations, careful)
                for start in starts
            ]
            return [
                Registration(one.matrix, -one.value)
                for one in sorted(found, key=lambda one: one.value)
            ]

        starts = _starts(still, moved, self.turns)
        if not self.turns:
            return tried(pair, starts, level, COARSE)[0].matrix
        if not careful:
            starts = [found.matrix for found in tried(pair, starts, level, SCREEN)[:BEST]]
        found = tried(pair, starts, level, COARSE)
        close = [one.matrix for one in found]
        if self.distinct:
            good = [one.matrix for one in found if one.similarity >= GOOD * found[0].similarity]
            close = _different(good, still)
        # So coarse, a head back to front looks much like one upright: the next level tells.
        return tried((still, moved), close[:CLOSE], LEVELS[1], COARSE)[0].matrix


def scaled_image(volume: Volume, spacing_mm: float) -> sitk.Image:
    """The volume on isotropic voxels, from 0 to the 99.5th percentile of what is above 0.

    Raises:
        ValueError: nothing is above 0.
    """
    small = resample_spacing(volume, spacing_mm)
    above = small.array[small.array > 0]
    if not above.size:
        raise ValueError("nothing above 0 to register")
    top = float(np.percentile(above, 99.5))
    return to_sitk(Volume(np.clip(small.array / top, 0, 1).astype(np.float32), small.affine))


def _middle(volume: Volume) -> np.ndarray:
    """The `(4, 4)` shift, mm, from the world's origin to the middle of the array."""
    shift = np.eye(4)
    shift[:3, 3] = volume.affine[:3, :3] @ ((np.array(volume.array.shape) - 1) / 2)
    shift[:3, 3] += volume.affine[:3, 3]
    return shift


def _starts(fixed: sitk.Image, moving: sitk.Image, turns: bool) -> list[np.ndarray]:
    """Return starts: centres of mass aligned, tilted about each axis; with `turns` all sides."""
    centred = sitk.CenteredTransformInitializer(
        fixed,
        moving,
        sitk.Euler3DTransform(),
        sitk.CenteredTransformInitializerFilter.MOMENTS,
    )
    shift, centre = np.eye(4), np.eye(4)
    shift[:3, 3] = matrix_of(centred)[:3, 3]
    centre[:3, 3] = FLIP[:3, :3] @ centred.GetCenter()
    tilts = [np.zeros(3), *(sign * 20 * np.eye(3)[axis] for axis in range(3) for sign in (-1, 1))]
    rotations = [Rotation.from_euler("xyz", tilt, degrees=True).as_matrix() for tilt in tilts]
    if turns:
        rotations += right_angles()
    starts = []
    for rotation in rotations:
        turn = np.eye(4)
        turn[:3, :3] = rotation
        starts.append(shift @ centre @ turn @ np.linalg.inv(centre))
    return starts


def _different(matrices: Sequence[np.ndarray], fixed: sitk.Image) -> list[np.ndarray]:
    """The matrices less those that end close to an earlier one."""
    ends = product(*[(0, n - 1) for n in fixed.GetSize()])
    lps = np.array([fixed.TransformIndexToPhysicalPoint(end) for end in ends])
    corners = lps * np.diag(FLIP)[:3]
    kept: list[tuple[np.ndarray, np.ndarray]] = []
    for matrix in matrices:
        there = apply_affine(matrix, corners)
        if all(np.linalg.norm(there - other, axis=1).max() > SAME_MM for _, other in kept):
            kept.append((matrix, there))
    return [matrix for matrix, _ in kept]

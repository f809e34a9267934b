"""Linear registration: rigid between the sequences of a subject, affine to an atlas.

A registration is one `(4, 4)` matrix, fixed world to moving world in RAS mm, so its inverse is the
matrix's inverse and chains of registrations are products: a scan is interpolated once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk
from nibabel.affines import apply_affine
from scipy.spatial.transform import Rotation

from brainuad.types import Volume
from brainuad.volumes.itk import FLIP, matrix_of, to_sitk, transform_of
from brainuad.volumes.orient import right_angles
from brainuad.volumes.resample import resample_spacing

COARSE = 60
"""Iterations of each start of the search."""

SCREEN, BEST = 10, 6
"""Iterations that tell good starts from bad ones, and how many of them are searched further."""

CLOSE = 3
"""So many of these are compared at the next level."""

SAME_MM = 40.0
"""Starts that end so close to one another at the corners of the fixed image are one; 20 degrees."""

GOOD = 0.75
"""Share of the best one's mutual information below which another is not compared."""

_BINS = 32
_SEED = 1
"""Samples are jittered, by the clock if no seed is given: the same scan must come out the same."""


class Level(NamedTuple):
    """Of the pyramid: shrink factor, Gaussian in mm, share of the voxels that are compared."""

    shrink: int
    smooth_mm: float
    sampled: float


LEVELS = (Level(4, 6.0, 1.0), Level(2, 3.0, 0.5), Level(1, 1.0, 0.2))


class Registration(NamedTuple):
    """What `Register` found.

    Attributes:
        matrix: `(4, 4)`, fixed world to moving world, RAS mm.
        similarity: Mattes mutual information in nats at the end, 0 for unrelated images.
    """

    matrix: np.ndarray
    similarity: float


@dataclass(frozen=True)
class Register:
    """Mattes mutual information by regular-step gradient descent, coarse to fine.

    Mutual information fits sequences of any contrast to one another (Mattes et al. 2003, IEEE TMI
    22(1)).

    Args:
        kind: `rigid` (6 parameters) or `affine` (12, after a similarity one).
        spacing_mm: of the finest level; both images are resampled to it.
        iterations: at most, a level.
        turns: also start from the brain turned by right angles, in all 24 ways, and keep what
            fits best.
        distinct: of these, compare those alone that end apart and are not far worse than the best;
            a fifth faster. False does as version 0.1, whose models keep their masks exactly.
    """

    kind: str = "affine"
    spacing_mm: float = 2.0
    iterations: int = 150
    turns: bool = False
    distinct: bool = False

    def __post_init__(self) -> None:
        if self.kind not in ("rigid", "affine"):
            raise ValueError(f"kind is '{self.kind}'; use rigid or affine")

    def __call__(
        self,
        fixed: Volume,
        moving: Volume,
        fixed_mask: np.ndarray | None = None,
    ) -> Registration:
        """Registers `moving` to `fixed`.

        Args:
            fixed: RAS axes, the atlas or the reference sequence.
            moving: RAS axes.
            fixed_mask: `(D, H, W)` bool on the grid of `fixed` where the images are compared.

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
        matrix = self._search(still, moved, mask)
        stages = ("rigid",) if self.kind == "rigid" else ("similarity", "affine")
        value = 0.0
        for stage in stages:
            # An earlier stage only brings the last one near.
            levels = LEVELS if stage == stages[-1] else LEVELS[:2]
            matrix, value = _optimise(still, moved, matrix, mask, stage, levels, self.iterations)
        return Registration(to_moving @ matrix @ np.linalg.inv(to_fixed), -value)

    def _search(self, still: sitk.Image, moved: sitk.Image, mask: sitk.Image | None) -> np.ndarray:
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
                _optimise(pair[0], pair[1], start, mask, kind, (level,), iterations)
                for start in starts
            ]
            return [Registration(m, -value) for m, value in sorted(found, key=lambda item: item[1])]

        starts = _starts(still, moved, self.turns)
        if not self.turns:
            return tried(pair, starts, level, COARSE)[0].matrix
        screened = [found.matrix for found in tried(pair, starts, level, SCREEN)[:BEST]]
        found = tried(pair, screened, level, COARSE)
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
    """Centres of mass on one another, tilted about each axis; with `turns` on every side too."""
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


def _optimise(
    fixed: sitk.Image,
    moving: sitk.Image,
    start: np.ndarray,
    mask: sitk.Image | None,
    kind: str,
    levels: Sequence[Level],
    iterations: int,
) -> tuple[np.ndarray, float]:
    """The matrix and the metric's value (lower is better) after the given levels."""
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_BINS)
    if mask is not None:
        method.SetMetricFixedMask(mask)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentagePerLevel([level.sampled for level in levels], _SEED)
    method.SetShrinkFactorsPerLevel([level.shrink for level in levels])
    method.SetSmoothingSigmasPerLevel([level.smooth_mm for level in levels])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=2.0, minStep=1e-3, numberOfIterations=iterations, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    transforms: dict[str, Callable[[], Any]] = {
        "rigid": sitk.VersorRigid3DTransform,
        "similarity": sitk.Similarity3DTransform,
        "affine": lambda: sitk.AffineTransform(3),
    }
    transform = transforms[kind]()
    size = np.array(fixed.GetSize())
    transform.SetCenter(fixed.TransformContinuousIndexToPhysicalPoint(((size - 1) / 2).tolist()))
    # What is optimised starts at the identity, because a versor has no gradient at half a turn.
    method.SetMovingInitialTransform(transform_of(start))
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(fixed, moving)
    except RuntimeError as error:
        line = str(error).strip().splitlines()[-1]
        raise ValueError(f"the images could not be registered ({line})") from None
    return start @ matrix_of(transform), float(method.GetMetricValue())

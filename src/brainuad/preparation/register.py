"""Linear registration: rigid between the sequences of a subject, affine to an atlas.

A registration is one `(4, 4)` matrix, fixed world to moving world in RAS mm, so its inverse is the
matrix's inverse and chains of registrations are products: a scan is interpolated once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk

from brainuad.preparation.itk import matrix_of, to_sitk, transform_of
from brainuad.preparation.resample import resample_spacing
from brainuad.types import Volume

COARSE = 60
"""Iterations of each start of the search."""

_BINS = 32
_SAMPLED = (1.0, 0.5, 0.2)
_SHRINK = (4, 2, 1)
_SMOOTH_MM = (6.0, 3.0, 1.0)


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
        turns: also start from the head turned upside down, back to front and on its other side,
            and keep what fits best.
    """

    kind: str = "affine"
    spacing_mm: float = 2.0
    iterations: int = 150
    turns: bool = False

    def __post_init__(self) -> None:
        if self.kind not in ("rigid", "affine"):
            raise ValueError(f"kind is '{self.kind}'; use rigid or affine")

    def __call__(
        self,
        fixed: Volume,
        moving: Volume,
        fixed_mask: np.ndarray | None = None,
        start: np.ndarray | None = None,
    ) -> Registration:
        """Registers `moving` to `fixed`.

        Args:
            fixed: RAS axes, the atlas or the reference sequence.
            moving: RAS axes.
            fixed_mask: `(D, H, W)` bool on the grid of `fixed` where the images are compared.
            start: `(4, 4)`, fixed world to moving world; None lays the centres of mass on one
                another.

        Raises:
            ValueError: an image is empty, or the two could not be made to overlap.
        """
        still, moved = (self._image(volume) for volume in (fixed, moving))
        mask = None
        if fixed_mask is not None:
            share = resample_spacing(
                Volume(fixed_mask.astype(np.float32), fixed.affine), self.spacing_mm
            )
            mask = to_sitk(Volume(share.array > 0.5, share.affine))
        matrix = self._search(still, moved, mask) if start is None else start
        stages = ("rigid",) if self.kind == "rigid" else ("similarity", "affine")
        value = 0.0
        for stage in stages:
            # An earlier stage only brings the last one near.
            levels = (0, 1, 2) if stage == stages[-1] else (0, 1)
            matrix, value = _optimise(still, moved, matrix, mask, stage, levels, self.iterations)
        return Registration(matrix, -value)

    def _search(self, still: sitk.Image, moved: sitk.Image, mask: sitk.Image | None) -> np.ndarray:
        """The best of several starts after the coarsest level: gradient descent alone gets lost.

        Heads lie tilted by up to some 30 degrees; `turns` adds those that are upside down.
        """
        starts = _turned(still, moved, (-20, 20, 180) if self.turns else (-20, 20))
        kind = "rigid" if self.kind == "rigid" else "similarity"
        tried = [_optimise(still, moved, s, mask, kind, (0,), COARSE) for s in starts]
        return min(tried, key=lambda found: found[1])[0]

    def _image(self, volume: Volume) -> sitk.Image:
        small = resample_spacing(volume, self.spacing_mm)
        top = float(np.percentile(small.array[small.array > 0], 99.5)) if small.array.any() else 0
        if not top > 0:
            raise ValueError("nothing above 0 to register")
        return to_sitk(Volume(np.clip(small.array / top, 0, 1).astype(np.float32), small.affine))


def _turned(fixed: sitk.Image, moving: sitk.Image, degrees: tuple[float, ...]) -> list[np.ndarray]:
    """Centres of mass on one another, turned by so many degrees about each axis in turn."""
    centred = sitk.CenteredTransformInitializer(
        fixed,
        moving,
        sitk.Euler3DTransform(),
        sitk.CenteredTransformInitializerFilter.MOMENTS,
    )
    starts = [matrix_of(centred)]
    for axis in range(3):
        for angle in degrees:
            euler = sitk.Euler3DTransform(centred)
            angles = [0.0, 0.0, 0.0]
            angles[axis] = float(np.deg2rad(angle))
            euler.SetRotation(*angles)
            starts.append(matrix_of(euler))
    return starts


def _optimise(
    fixed: sitk.Image,
    moving: sitk.Image,
    start: np.ndarray,
    mask: sitk.Image | None,
    kind: str,
    levels: tuple[int, ...],
    iterations: int,
) -> tuple[np.ndarray, float]:
    """The matrix and the metric's value (lower is better) after the given levels."""
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_BINS)
    if mask is not None:
        method.SetMetricFixedMask(mask)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentagePerLevel([_SAMPLED[i] for i in levels])
    method.SetShrinkFactorsPerLevel([_SHRINK[i] for i in levels])
    method.SetSmoothingSigmasPerLevel([_SMOOTH_MM[i] for i in levels])
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

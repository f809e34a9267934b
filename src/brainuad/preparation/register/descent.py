"""One descent of a registration: from a start to the transform nearby that fits best."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk

from brainuad.machine.signals import deferred
from brainuad.volumes.itk import matrix_of, transform_of

WORSE = 0.05
"""Share of its mutual information that a level may lose; what loses more has lost its way."""

FIRST_STEP_MM = 2.0
"""Largest displacement of a voxel in a careful descent's first step."""

_BINS = 32
_SEED = 1
"""Samples are jittered, by the clock if no seed is given: the same scan must come out the same."""


class Level(NamedTuple):
    """Level of the pyramid: shrink factor, Gaussian in mm, share of compared voxels."""

    shrink: int
    smooth_mm: float
    sampled: float


class Descent(NamedTuple):
    """Result of a descent.

    Attributes:
        matrix: `(4, 4)`, fixed world to moving world, RAS mm.
        value: value of the metric; lower is better.
        lost: whether a level ended clearly worse than it began.
    """

    matrix: np.ndarray
    value: float
    lost: bool


def descend(
    fixed: sitk.Image,
    moving: sitk.Image,
    start: np.ndarray,
    mask: sitk.Image | None,
    kind: str,
    levels: Sequence[Level],
    iterations: int,
    careful: bool = False,
) -> Descent:
    """Fit a transform by regular steps down the gradient, level by level.

    The first step of a level is 2 long in the transform's own parameters, be they mm or entries of
    the matrix. Where the shift fits already and the gradient points along the matrix, that moves
    the brain's rim by decimetres, and the descent may not come back. `careful` limits it in mm.

    Args:
        fixed: image whose voxels are compared.
        moving: image that is interpolated.
        start: `(4, 4)`, fixed world to moving world, RAS mm.
        mask: mask on `fixed` where the images are compared; None for everywhere.
        kind: `rigid`, `similarity` or `affine`.
        levels: coarse to fine.
        iterations: at most, a level.
        careful: the first step of a level moves no voxel further than `FIRST_STEP_MM`.

    Raises:
        ValueError: the images do not overlap.
    """
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
        learningRate=2.0,
        minStep=1e-3,
        numberOfIterations=iterations,
        relaxationFactor=0.6,
        estimateLearningRate=method.Once if careful else method.Never,
        maximumStepSizeInPhysicalUnits=FIRST_STEP_MM if careful else 0.0,
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
    seen: dict[int, list[float]] = {}
    with deferred() as came:

        def watch() -> None:
            seen.setdefault(method.GetCurrentLevel(), []).append(method.GetMetricValue())
            if came:
                method.StopRegistration()

        method.AddCommand(sitk.sitkIterationEvent, watch)
        try:
            method.Execute(fixed, moving)
        except RuntimeError as error:
            line = str(error).strip().splitlines()[-1]
            raise ValueError(f"the images could not be registered ({line})") from None
        finally:
            # The command holds the method that holds it: neither would ever be freed.
            method.RemoveAllCommands()
    # Values are negative, unrelated images have 0.
    lost = any(values[-1] > (1 - WORSE) * values[0] for values in seen.values())
    return Descent(start @ matrix_of(transform), float(method.GetMetricValue()), lost)

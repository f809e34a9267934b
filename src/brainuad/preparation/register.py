"""Linear registration: rigid between the sequences of a subject, affine to an atlas.

A registration is one `(4, 4)` matrix, fixed world to moving world in RAS mm, so its inverse is the
matrix's inverse and chains of registrations are products: a scan is interpolated once.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk

from brainuad.preparation.itk import matrix_of, to_sitk, transform_of
from brainuad.preparation.resample import resample_spacing
from brainuad.types import Volume

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
        kind: `rigid` (6 parameters) or `affine` (12, after a rigid and a similarity one).
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
        starts = [centred(still, moved)] if start is None else [transform_of(start)]
        if self.turns and start is None:
            starts = _turned(still, moved)
            # One coarse level tells which way up the head is.
            coarse = [_optimise(still, moved, s, mask, "rigid", (0,), 60) for s in starts]
            starts = [min(coarse, key=lambda found: found[1])[0]]
        stages = ("rigid",) if self.kind == "rigid" else ("rigid", "similarity", "affine")
        transform, value = starts[0], 0.0
        for stage in stages:
            # The first stage starts far off; the later ones only refine.
            levels = (0, 1, 2) if stage == stages[-1] else (0, 1)
            if stage == "affine":
                levels = (1, 2)
            transform, value = _optimise(
                still, moved, transform, mask, stage, levels, self.iterations
            )
        return Registration(matrix_of(transform), -value)

    def _image(self, volume: Volume) -> sitk.Image:
        small = resample_spacing(volume, self.spacing_mm)
        top = float(np.percentile(small.array[small.array > 0], 99.5)) if small.array.any() else 0
        if not top > 0:
            raise ValueError("nothing above 0 to register")
        return to_sitk(Volume(np.clip(small.array / top, 0, 1).astype(np.float32), small.affine))


def centred(fixed: sitk.Image, moving: sitk.Image) -> sitk.Transform:
    """A translation that lays the centres of mass on one another."""
    return sitk.CenteredTransformInitializer(
        fixed,
        moving,
        sitk.Euler3DTransform(),
        sitk.CenteredTransformInitializerFilter.MOMENTS,
    )


def _turned(fixed: sitk.Image, moving: sitk.Image) -> list[sitk.Transform]:
    """The head as it is, and turned by half a turn about each axis."""
    starts: list[sitk.Transform] = []
    for angles in ((0, 0, 0), (np.pi, 0, 0), (0, np.pi, 0), (0, 0, np.pi)):
        euler = sitk.Euler3DTransform(centred(fixed, moving))
        euler.SetRotation(*(float(angle) for angle in angles))
        starts.append(euler)
    return starts


def _optimise(
    fixed: sitk.Image,
    moving: sitk.Image,
    start: sitk.Transform,
    mask: sitk.Image | None,
    kind: str,
    levels: tuple[int, ...],
    iterations: int,
) -> tuple[sitk.Transform, float]:
    """The transform and the metric's value (lower is better) after the given levels."""
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
    transform = _as(kind, start, fixed)
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(fixed, moving)
    except RuntimeError as error:
        line = str(error).strip().splitlines()[-1]
        raise ValueError(f"the images could not be registered ({line})") from None
    return transform, float(method.GetMetricValue())


def _as(kind: str, start: sitk.Transform, fixed: sitk.Image) -> sitk.Transform:
    """The start as a transform of the wanted kind about the middle of the fixed image."""
    size = np.array(fixed.GetSize())
    centre = fixed.TransformContinuousIndexToPhysicalPoint(((size - 1) / 2).tolist())
    matrix = matrix_of(start)
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    lps = flip @ matrix @ flip
    linear, shift = lps[:3, :3], lps[:3, 3]
    # y = A (x - c) + c + t
    translation = shift - np.array(centre) + linear @ np.array(centre)
    transform: Any = sitk.AffineTransform(3)
    if kind != "affine":
        transform = (
            sitk.VersorRigid3DTransform() if kind == "rigid" else sitk.Similarity3DTransform()
        )
    transform.SetCenter(centre)
    if kind != "affine":
        left, stretch, right = np.linalg.svd(linear)
        rotation = left @ np.diag([1, 1, np.sign(np.linalg.det(left @ right))]) @ right
        linear = rotation
        if kind == "similarity":
            # SetMatrix of a similarity refuses what is not a rotation times a scale, to rounding.
            transform.SetScale(float(stretch.mean()))
            linear = rotation * stretch.mean()
    transform.SetMatrix(linear.ravel().tolist())
    transform.SetTranslation(translation.tolist())
    return transform

"""Deformable registration after the affine one: symmetric diffeomorphic demons, by SimpleITK.

A warp is a displacement field `u` on the atlas's grid: a point `x` of the prepared world lies at
`A (x + u(x))` in the scan, `A` the affine registration's matrix. Its inverse `v` lies beside it,
so that the way back is `z + v(z)` of `z = A^-1 y`. Files are ITK's displacement fields (vectors in
LPS mm), which ANTs and SimpleITK read too.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
from nibabel.affines import apply_affine
from scipy import ndimage

from brainuad.machine.files import atomic_path
from brainuad.preparation.register.linear import scaled_image
from brainuad.types import Volume
from brainuad.volumes.itk import from_sitk, transform_of
from brainuad.volumes.warp import displaced, inverse_path

_BINS = 64
_STEP = 2.0
_TISSUE = 0.02


class Warp(NamedTuple):
    """A displacement field and its inverse, on one grid.

    Attributes:
        forward: prepared world to the world that the affine matrix starts from, mm.
        inverse: back.
    """

    forward: sitk.Image
    inverse: sitk.Image


@dataclass(frozen=True)
class Deform:
    """Diffeomorphic demons with symmetric forces (Vercauteren et al. 2009, NeuroImage 45(1)).

    Demons compare intensities, so each level first replaces the moving ones by the fixed image's
    mean where they occur (Guimond et al. 2001, IEEE TMI 20(1)): any sequence fits the T1w atlas.

    Args:
        spacing_mm: voxel size of the finest level and of the field.
        iterations: numbers of iterations at twice that spacing, and at it.
        smooth_mm: standard deviation of the Gaussian that keeps the field smooth; less follows the
            atlas closer, lesions included, and may fold.
    """

    spacing_mm: float = 2.0
    iterations: tuple[int, int] = (40, 20)
    smooth_mm: float = 8.0

    def __call__(
        self, fixed: Volume, moving: Volume, matrix: np.ndarray
    ) -> tuple[Warp, dict[str, float]]:
        """Return the warp that is left after an affine registration, and its measures.

        Args:
            fixed: brain-extracted, RAS axes.
            moving: brain-extracted.
            matrix: `(4, 4)`, fixed world to moving world, RAS mm.

        Raises:
            ValueError: the images do not overlap, or the warp folds.
        """
        # Room for the field to fade out in: the atlas's brain reaches the edge of its image.
        room = [int(np.ceil(1.5 * self.smooth_mm / self.spacing_mm))] * 3
        still = sitk.ConstantPad(scaled_image(fixed, self.spacing_mm), room, room)
        moved = scaled_image(moving, self.spacing_mm)
        laid = sitk.Resample(moved, still, transform_of(matrix), sitk.sitkLinear, 0.0)
        coarse, fine = self.iterations
        field = self._level(still, laid, None, 2, coarse)
        field = self._level(still, laid, field, 1, fine)
        stretch = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(field))
        if stretch.min() <= 0:
            raise ValueError("the deformable registration folds; raise deform.smooth_mm")
        field = _rounded(field)
        warp = Warp(field, _rounded(invert(field)))
        atlas = from_sitk(still)
        points = apply_affine(atlas.affine, np.argwhere(atlas.array > _TISSUE))
        gap = displaced(displaced(points, warp.forward), warp.inverse) - points
        return warp, {
            "inverse_error_mm": float(np.linalg.norm(gap, axis=1).max()),
            "largest_mm": float(np.linalg.norm(sitk.GetArrayViewFromImage(field), axis=-1).max()),
            "smallest_jacobian": float(stretch.min()),
            "largest_jacobian": float(stretch.max()),
        }

    def _level(
        self,
        still: sitk.Image,
        laid: sitk.Image,
        field: sitk.Image | None,
        shrink: int,
        iterations: int,
    ) -> sitk.Image:
        """Return the field after one level, on the grid of `still`."""
        now = laid if field is None else _pulled(laid, field)
        same = sitk.GetImageFromArray(
            _translated(*(sitk.GetArrayViewFromImage(image) for image in (laid, now, still)))
        )
        same.CopyInformation(still)
        demons = sitk.DiffeomorphicDemonsRegistrationFilter()
        demons.SetNumberOfIterations(iterations)
        demons.SetMaximumUpdateStepLength(_STEP)
        demons.SetSmoothDisplacementField(True)
        demons.SetStandardDeviations(self.smooth_mm / (self.spacing_mm * shrink))
        if field is not None:
            return demons.Execute(still, same, field)
        # The Gaussian that turns a voxel's width into the coarser one's.
        variance = [(shrink**2 - 1) * self.spacing_mm**2 / 2.355**2] * 3
        coarse = sitk.Shrink(sitk.DiscreteGaussian(still, variance), [shrink] * 3)
        smooth = sitk.DiscreteGaussian(same, variance)
        found = demons.Execute(coarse, sitk.Resample(smooth, coarse))
        return sitk.Resample(
            found,
            still,
            sitk.Transform(),
            sitk.sitkLinear,
            useNearestNeighborExtrapolator=True,
        )


def invert(field: sitk.Image) -> sitk.Image:
    """Return the inverse displacement field, on the same grid."""
    # It stops as soon as one of the two is reached; the largest error is what matters.
    return sitk.InvertDisplacementField(
        field,
        maximumNumberOfIterations=50,
        maxErrorToleranceThreshold=0.005,
        meanErrorToleranceThreshold=1e-9,
        enforceBoundaryCondition=True,
    )


def write_warp(path: Path, warp: Warp) -> None:
    """Write a warp as `path` and, before it, its inverse beside it, each atomically."""
    for target, field in ((inverse_path(path), warp.inverse), (path, warp.forward)):
        with atomic_path(target) as temporary:
            try:
                sitk.WriteImage(sitk.Cast(field, sitk.sitkVectorFloat32), temporary, True)
            except RuntimeError as error:
                line = str(error).strip().splitlines()[-1]
                raise OSError(f"{target}: could not be written ({line})") from None


def _rounded(field: sitk.Image) -> sitk.Image:
    """Round a field to 1/256 mm, which compresses to less than half."""
    found = sitk.GetImageFromArray(np.rint(sitk.GetArrayViewFromImage(field) * 256) / 256, True)
    found.CopyInformation(field)
    return found


def _pulled(image: sitk.Image, field: sitk.Image) -> sitk.Image:
    # The transform takes the field it is given for its own.
    transform = sitk.DisplacementFieldTransform(sitk.Image(field))
    return sitk.Resample(image, image, transform, sitk.sitkLinear, 0.0)


def _translated(array: np.ndarray, laid: np.ndarray, target: np.ndarray) -> np.ndarray:
    """`array` with each intensity replaced by the target's mean where `laid` has it.

    Raises:
        ValueError: `laid` and `target` do not overlap.
    """
    both = _inner(laid) & _inner(target)
    if np.count_nonzero(both) < 10 * _BINS:
        raise ValueError("the brain does not lie on the atlas")
    edges = np.linspace(0, 1, _BINS + 1)
    index = np.clip(np.digitize(laid[both], edges) - 1, 0, _BINS - 1)
    counts = np.bincount(index, minlength=_BINS)
    sums = np.bincount(index, target[both], minlength=_BINS)
    middle, seen = (edges[:-1] + edges[1:]) / 2, counts > 20
    means = np.interp(middle, middle[seen], sums[seen] / counts[seen])
    table = ndimage.gaussian_filter1d(means, 1.5)
    # Where brain and background share a voxel its value is of neither: take the next one inside.
    inner = _inner(array)
    nearest = ndimage.distance_transform_edt(~inner, return_distances=False, return_indices=True)
    found = np.interp(array, middle, table)[tuple(nearest)]
    return np.where(array > _TISSUE, found, 0).astype(np.float32)


def _inner(array: np.ndarray) -> np.ndarray:
    return ndimage.binary_erosion(array > _TISSUE)

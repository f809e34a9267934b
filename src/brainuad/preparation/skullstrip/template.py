"""Skull stripping without weights: the MNI152 brain registered to the head."""

from dataclasses import dataclass, field, replace

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu

from brainuad.preparation.register.linear import Register
from brainuad.types import Volume
from brainuad.volumes.regions import box_of
from brainuad.volumes.resample import resample_like

PLAUSIBLE_ML = (900.0, 2000.0)
"""Volumes that a brain's outline may have, adults and older children."""


_SMALLER = 0.92


@dataclass(frozen=True)
class TemplateBrain:
    """Classical, without weights: the MNI152 brain is registered to the head, then fitted.

    The template's mask, a little grown, bounds the brain; within it, what is connected to the
    middle at the level of brain tissue is kept. Less exact than a network, and it needs nothing.

    Args:
        register: affine registration of the template to the head.
        margin_mm: largest distance of the brain from the template's mask.
        height_mm: only so much below the top of the head is registered; the rest is neck.
    """

    register: Register = field(default_factory=lambda: Register("affine"))
    margin_mm: float = 4.0
    height_mm: float = 160.0

    def __call__(self, volume: Volume) -> np.ndarray:
        """See `contract`.

        Raises:
            ValueError: the template could not be registered.
        """
        from brainuad.preparation.atlas import load_brain_atlas

        atlas = load_brain_atlas()
        head = upper_head(volume, self.height_mm)
        matrix = self.register(atlas.image, head, fixed_mask=atlas.brain_mask).matrix
        voxel_ml = abs(np.linalg.det(matrix[:3, :3])) * np.prod(atlas.image.spacing_mm) / 1000
        if not PLAUSIBLE_ML[0] <= np.count_nonzero(atlas.brain_mask) * voxel_ml <= PLAUSIBLE_ML[1]:
            # Drawn to the skull's edge. MNI152 is larger than most brains: lay on a smaller one.
            scale = np.diag([_SMALLER, _SMALLER, _SMALLER, 1.0])
            small = Volume(atlas.image.array, scale @ atlas.image.affine)
            rigid = replace(self.register, kind="rigid")
            matrix = rigid(small, head, fixed_mask=atlas.brain_mask).matrix @ scale
        to_head = matrix @ atlas.image.affine
        share = resample_like(atlas.brain_mask.astype(np.float32), to_head, volume)
        laid = share > 0.5
        if not laid.any():
            raise ValueError("the template's brain lies outside the scan")
        # Distances take a dozen times the memory of their array: within the brain's box alone.
        room = np.ceil(self.margin_mm / np.array(volume.spacing_mm)).astype(int) + 1
        box = box_of(laid, room.tolist())
        found = np.zeros_like(laid)
        found[box] = self._fitted(laid[box], volume.array[box], volume.spacing_mm)
        return found

    def _fitted(
        self, laid: np.ndarray, array: np.ndarray, spacing_mm: tuple[float, float, float]
    ) -> np.ndarray:
        """The brain in and around the template's mask."""
        inward = ndimage.distance_transform_edt(laid, sampling=spacing_mm)
        core = inward > 2 * self.margin_mm
        near = ndimage.distance_transform_edt(~laid, sampling=spacing_mm) <= self.margin_mm
        # Tissue is what is as bright as the core's darker voxels; CSF at the rim stays out.
        level = np.percentile(array[core], 5) if core.any() else 0.0
        ball = _ellipsoid(np.rint(2.0 / np.array(spacing_mm)).astype(int))
        opened = ndimage.binary_opening((array > level) & near, ball) | core
        labels, count = ndimage.label(opened)
        if count == 0:
            return laid
        kept = labels == np.bincount(labels[core]).argmax() if core.any() else opened
        closed = ndimage.binary_closing(np.pad(kept, 8), ball, iterations=2)[8:-8, 8:-8, 8:-8]
        return ndimage.binary_fill_holes(closed) & near


def upper_head(volume: Volume, height_mm: float) -> Volume:
    """The scan without what lies further than `height_mm` below the top of the head.

    A neck would pull the centre of mass, from which a registration starts, far off the brain.

    Args:
        volume: RAS axes.
        height_mm: along the last axis.
    """
    bright = volume.array > threshold_otsu(volume.array)
    # A row of noise is no top of a head.
    levels = np.flatnonzero(bright.mean(axis=(0, 1)) > 0.02)
    if not levels.size:
        return volume
    bottom = max(0, int(levels[-1] - height_mm / volume.spacing_mm[2]))
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, 2] * bottom
    return Volume(np.ascontiguousarray(volume.array[:, :, bottom:]), affine)


def _ellipsoid(radius: np.ndarray) -> np.ndarray:
    grid = np.meshgrid(*[np.arange(-n, n + 1) for n in radius], indexing="ij")
    return sum((g / max(n, 1)) ** 2 for g, n in zip(grid, radius, strict=True)) <= 1

"""The cohort that only this study uses: real T1w slabs with painted lesions of real shapes."""

from pathlib import Path

import nibabel as nib
import numpy as np
from nilearn import datasets
from scipy import ndimage

from brainuad.benchmark.cohorts import JOBS
from brainuad.benchmark.slabs import deal, fill, prepare, with_real_lesions
from brainuad.machine.locks import lock
from brainuad.volumes.nifti import read_volume
from brainuad.volumes.orient import to_ras

LEVEL_MM = (0, 10)
"""Range of z of the slabs in MNI152."""


def real_t1(real: Path, folder: Path) -> Path:
    """Prepare 45 healthy slabs; lesions of real patients are painted into a third, for testing.

    Two multiple sclerosis patients and a glioma are added at the same level. The glioma does not
    reach it, so that scan has no lesion and is left out of the means.

    Args:
        real: folder of the real data.
        folder: parent of the cohort folders.

    Returns:
        The cohort folder.
    """
    out = folder / "real_t1"
    with lock(out):
        paths = sorted((real / "openms_lesion_shapes_mni").glob("*.nii.gz"))
        shapes = [
            volume.array[..., _level(volume.affine)] > 0
            for volume in map(to_ras, map(read_volume, paths))
        ]
        template = nib.as_closest_canonical(datasets.load_mni152_brain_mask(resolution=1))
        brain = np.asarray(template.dataobj)[..., _level(template.affine)] > 0

        def paint(
            image: np.ndarray, inside: np.ndarray, rng: np.random.Generator
        ) -> tuple[np.ndarray, np.ndarray]:
            shape = shapes[rng.integers(len(shapes))]
            if rng.random() < 0.5:
                shape = shape[::-1]
            return fill(image, inside, carried(shape, brain, inside), rng)

        return with_real_lesions(deal(prepare(real, out, JOBS, paint), 0), real, out)


def _level(affine: np.ndarray) -> slice:
    """Return the axial slices at the level of the slabs in an RAS grid of 1 mm."""
    low, high = (round(z - affine[2, 3]) for z in LEVEL_MM)
    return slice(low, high)


def carried(shape: np.ndarray, brain: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Move a mask from one brain to another, by the boxes around them.

    Args:
        shape: `(D, H, W)` bool.
        brain: brain mask of the shape.
        inside: `(D', H', W')`, brain mask of the other brain.

    Returns:
        The mask on the grid of `inside`, and within it.
    """
    (low, high), (low_to, high_to) = (
        (found.min(axis=0), found.max(axis=0)) for found in map(np.argwhere, (brain, inside))
    )
    scale = (high - low) / np.maximum(high_to - low_to, 1)
    grid = np.indices(inside.shape).reshape(3, -1)
    at = low[:, None] + (grid - low_to[:, None]) * scale[:, None]
    found = ndimage.map_coordinates(shape.astype(np.float32), at, order=1)
    return (found.reshape(inside.shape) > 0.5) & inside

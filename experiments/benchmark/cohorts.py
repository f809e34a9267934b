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
"""z of MNI152 where the slabs lie."""


def real_t1(real: Path, folder: Path) -> Path:
    """45 healthy slabs; in a third of the subjects, lesions of real patients are painted to test.

    With them, the same level of the real T1w of two multiple sclerosis patients, and of a glioma
    that does not reach it: a scan without a lesion, left out of the means.

    Args:
        real: the real data.
        folder: of the benchmark's cohorts.

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
    """The axial slices of the slabs' level, of an RAS grid at 1 mm."""
    low, high = (round(z - affine[2, 3]) for z in LEVEL_MM)
    return slice(low, high)


def carried(shape: np.ndarray, brain: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """A mask from one brain to another, by the boxes around them.

    Args:
        shape: `(D, H, W)` bool.
        brain: the brain mask it belongs to.
        inside: `(D', H', W')`, the brain mask it is to go to.

    Returns:
        On the grid of `inside`, and in it.
    """
    (low, high), (low_to, high_to) = (
        (found.min(axis=0), found.max(axis=0)) for found in map(np.argwhere, (brain, inside))
    )
    scale = (high - low) / np.maximum(high_to - low_to, 1)
    grid = np.indices(inside.shape).reshape(3, -1)
    at = low[:, None] + (grid - low_to[:, None]) * scale[:, None]
    found = ndimage.map_coordinates(shape.astype(np.float32), at, order=1)
    return (found.reshape(inside.shape) > 0.5) & inside

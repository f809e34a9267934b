"""The benchmark's cohorts that are made: of real scans, and of more synthetic brains.

The real ones come from the folder that BRAINUAD_REAL_DATA names.
"""

import csv
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from nilearn import datasets
from scipy import ndimage

from brainuad.cohorts.manifest import MANIFEST
from brainuad.machine.locks import lock
from brainuad.preparation.register.linear import Register
from brainuad.synthetic.phantom.cached import phantom_cohort
from brainuad.volumes.nifti import read_volume, write_volume
from brainuad.volumes.orient import to_ras
from brainuad.volumes.resample import resample_like
from experiments.madad_real_t1.study import with_real_lesions
from experiments.runs import ROOT
from experiments.strega_painted.study import deal, fill, prepare

JOBS = min(4, os.cpu_count() or 1)
COLUMNS = ("subject", "sequence", "image", "brain_mask", "lesion_mask", "healthy", "pathology")

EXTRACTED = (
    "preparation/skullstrip=extracted",
    "preparation.steps.bias=null",
    "preparation.steps.between=null",
)
"""Options for brains that were extracted and corrected before."""

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


def second_sample(real: Path, folder: Path) -> Path:
    """Synthetic brains of another seed, twice as many to test as the embedded cohort's.

    Args:
        real: not used.
        folder: of the benchmark's cohorts.

    Returns:
        The cohort folder.
    """
    counts = {"train": 0, "val": 0, "test": 12, "tumour": 32, "ms": 16, "stroke": 32}
    # It adds the folder `cohorts` itself.
    return phantom_cohort(folder.parent, seed=1, jobs=JOBS, **counts).root


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


def real_cases(real: Path, folder: Path, spacing_mm: int = 2) -> Path:
    """Two multiple sclerosis patients and a glioma: T1w, T2w and FLAIR, to the atlas.

    Args:
        real: the real data.
        folder: of the benchmark's cohorts.
        spacing_mm: of the prepared scans.

    Returns:
        The cohort folder.
    """
    out = folder / ("real_cases" if spacing_mm == 2 else f"real_cases_{spacing_mm}mm")
    with lock(out):
        rows = []
        for number, case in enumerate(sorted((real / "openms_mni_1mm").iterdir()), start=1):
            files = {"T1w": "T1", "T2w": "T2", "FLAIR": "FLAIR"}
            for sequence, name in files.items():
                scan = [f"ms{number}", sequence, case / f"{name}.nii.gz", ""]
                rows.append([*scan, case / "GOLD_STANDARD.nii.gz", "false", "ms"])
        case = next((real / "tumour_brats_space").iterdir())
        lesion = glioma_label(case, folder / f"{out.name}_raw" / "glioma.nii.gz")
        for sequence, name in {"T1w": "t1", "T2w": "t2", "FLAIR": "fla"}.items():
            image = next(case.glob(f"*{name}.nii.gz"))
            rows.append(["glioma", sequence, image, "", lesion, "false", "tumour"])
        return prepared(rows, out, EXTRACTED, spacing_mm)


def glioma_label(case: Path, out: Path) -> Path:
    """Every class of the fused segmentations of a glioma as one lesion, in the file `out`."""
    truth = read_volume(case / "fused_simple.nii.gz")
    write_volume(out, truth.array > 0, truth.affine, np.uint8)
    return out


def elderly(real: Path, folder: Path) -> Path:
    """FLAIR of 15 elderly people, with automatic masks of their white-matter hyperintensities.

    The brain is the parcellation of their T1w, carried over by a rigid registration.
    """
    out, raw = folder / "elderly", folder / "elderly_raw"
    with lock(out):
        rows = []
        for case in sorted(path for path in (real / "nichart_elderly_2mm").iterdir()):
            if not case.is_dir():
                continue
            brain = raw / f"{case.name}_brain.nii.gz"
            if not brain.is_file():
                _carry_brain(case, brain)
            scan = [case.name, "FLAIR", case / "FLAIR.nii.gz", brain]
            rows.append([*scan, case / "wmh_on_FLAIR.nii.gz", "false", "wmh"])
        return prepared(rows, out, ["preparation/skullstrip=given"])


def _carry_brain(case: Path, out: Path) -> None:
    """Writes the brain mask on the grid of the FLAIR."""
    flair, head = (to_ras(read_volume(case / f"{name}.nii.gz")) for name in ("FLAIR", "T1"))
    regions = to_ras(read_volume(case / "parcellation_on_T1.nii.gz"))
    # Sulci and ventricles' rims are no region of the parcellation, but of the brain.
    brain = ndimage.binary_closing(np.pad(regions.array > 0, 4), iterations=3)[4:-4, 4:-4, 4:-4]
    brain = ndimage.binary_fill_holes(brain).astype(np.float32)
    matrix = Register(kind="rigid")(flair, head).matrix
    found = resample_like(brain, np.linalg.inv(matrix) @ regions.affine, flair) > 0.5
    grid = nib.load(case / "FLAIR.nii.gz")
    turned = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(flair.affine), nib.orientations.io_orientation(grid.affine)
    )
    back = nib.orientations.apply_orientation(found.astype(np.uint8), turned)
    write_volume(out, back, grid.affine, np.uint8)


def prepared(
    rows: list[list[object]], out: Path, options: Sequence[str], spacing_mm: int = 2
) -> Path:
    """The cohort of a list of scans, registered to the atlas; at 2 mm as the embedded one lies.

    Raises:
        CalledProcessError: a scan could not be prepared; the command says which.
    """
    if (out / MANIFEST).is_file():
        return out
    source = out.with_name(f"{out.name}_raw") / "scans.csv"
    source.parent.mkdir(parents=True, exist_ok=True)
    with source.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    tool = Path(sys.executable).with_name("brainuad-prepare")
    command = [str(tool), str(source), str(out), "--jobs", str(JOBS)]
    command += [f"preparation.steps.spacing_mm={spacing_mm}", *options]
    subprocess.run(command, check=True, cwd=ROOT)
    return out


MAKERS: dict[str, Callable[[Path, Path], Path]] = {
    "real_t1": real_t1,
    "real_cases": real_cases,
    "elderly": elderly,
    "second_sample": second_sample,
}
"""The functions that `settings.yaml` may name as `prepare`."""

"""Cohorts that several benchmarks use: real patients, and more synthetic brains.

Real scans come from the folder that BRAINUAD_REAL_DATA names.
"""

import csv
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from brainuad.benchmark.plan import Maker
from brainuad.benchmark.runs import program
from brainuad.cohorts.manifest import MANIFEST
from brainuad.machine.locks import lock
from brainuad.preparation.register.linear import Register
from brainuad.synthetic.phantom.cached import phantom_cohort
from brainuad.volumes.nifti import read_volume, write_volume
from brainuad.volumes.orient import to_ras
from brainuad.volumes.resample import resample_like

JOBS = min(4, os.cpu_count() or 1)
COLUMNS = ("subject", "sequence", "image", "brain_mask", "lesion_mask", "healthy", "pathology")

EXTRACTED = (
    "preparation/skullstrip=extracted",
    "preparation.steps.bias=null",
    "preparation.steps.between=null",
)
"""Options for extracted brains with a corrected bias field."""

CORRECTED = ("preparation/skullstrip=extracted", "preparation.steps.between=null")
"""Options for extracted brains whose bias field was not corrected in all of them."""


def second_sample(real: Path, folder: Path) -> Path:
    """Make synthetic brains of another seed, twice as many test subjects as the embedded cohort."""
    counts = {"train": 0, "val": 0, "test": 12, "tumour": 32, "ms": 16, "stroke": 32}
    # `phantom_cohort` adds the folder `cohorts`.
    return phantom_cohort(folder.parent, seed=1, jobs=JOBS, **counts).root


def real_cases(real: Path, folder: Path, spacing_mm: int = 2) -> Path:
    """Prepare T1w, T2w and FLAIR of two multiple sclerosis patients and a glioma patient."""
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
    """Write all classes of a glioma's fused segmentation as one lesion mask; return its path."""
    truth = read_volume(case / "fused_simple.nii.gz")
    write_volume(out, truth.array > 0, truth.affine, np.uint8)
    return out


def elderly(real: Path, folder: Path) -> Path:
    """Prepare FLAIR of 15 elderly people with automatic masks of white-matter hyperintensities.

    The brain mask is the parcellation of the T1w, resampled after a rigid registration.
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
    """Write the brain mask on the grid of the FLAIR."""
    flair, head = (to_ras(read_volume(case / f"{name}.nii.gz")) for name in ("FLAIR", "T1"))
    regions = to_ras(read_volume(case / "parcellation_on_T1.nii.gz"))
    # The parcellation leaves out sulci and the rims of the ventricles.
    brain = ndimage.binary_closing(np.pad(regions.array > 0, 4), iterations=3)[4:-4, 4:-4, 4:-4]
    brain = ndimage.binary_fill_holes(brain).astype(np.float32)
    matrix = Register(kind="rigid")(flair, head).matrix
    found = resample_like(brain, np.linalg.inv(matrix) @ regions.affine, flair) > 0.5
    grid = read_volume(case / "FLAIR.nii.gz")
    turned = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(flair.affine), nib.orientations.io_orientation(grid.affine)
    )
    back = nib.orientations.apply_orientation(found.astype(np.uint8), turned)
    write_volume(out, back, grid.affine, np.uint8)


def prepared(
    rows: list[list[object]], out: Path, options: Sequence[str], spacing_mm: int = 2
) -> Path:
    """Prepare a list of scans, registered to the atlas.

    Args:
        rows: one row per scan, with a value for each of `COLUMNS`.
        out: cohort folder.
        options: words of `brainuad-prepare`.
        spacing_mm: voxel spacing; the embedded cohort has 2 mm.

    Returns:
        The cohort folder.

    Raises:
        CalledProcessError: a scan could not be prepared; `brainuad-prepare` printed which.
    """
    if (out / MANIFEST).is_file():
        return out
    source = out.with_name(f"{out.name}_raw") / "scans.csv"
    source.parent.mkdir(parents=True, exist_ok=True)
    with source.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    command = [program("prepare"), str(source), str(out), "--jobs", str(JOBS)]
    command += [f"preparation.steps.spacing_mm={spacing_mm}", *options]
    subprocess.run(command, check=True)
    return out


def t2_cases(real: Path, folder: Path) -> Path:
    """Prepare T2w of the patients of `cases`, and of a person with an old stroke."""
    names = {"ms": "T2", "glioma": "t2", "wmh": "T2", "stroke": "T2"}
    return cases(real, folder, "t2_cases", names, "T2w", CORRECTED)


def flair_cases(real: Path, folder: Path) -> Path:
    """Prepare FLAIR of the patients of `cases`, and of three gliomas of BraTS."""
    names = {"ms": "FLAIR", "glioma": "fla", "wmh": "FLAIR", "brats": "flair"}
    return cases(real, folder, "flair_cases", names, "FLAIR")


def cases(
    real: Path,
    folder: Path,
    name: str,
    files: dict[str, str],
    sequence: str,
    options: Sequence[str] = EXTRACTED,
) -> Path:
    out = folder / name
    with lock(out):
        rows: list[list[object]] = []
        for case in sorted((real / "openms_mni_1mm").iterdir()):
            scan = [f"ms-{case.name}", sequence, case / f"{files['ms']}.nii.gz", ""]
            rows.append([*scan, case / "GOLD_STANDARD.nii.gz", "false", "ms"])
        case = next((real / "tumour_brats_space").iterdir())
        lesion = glioma_label(case, folder / f"{name}_raw" / "glioma.nii.gz")
        image = case / f"{files['glioma']}.nii.gz"
        rows.append([case.name, sequence, image, "", lesion, "false", "tumour"])
        for case in sorted((real / "wmh_manual_3mm").iterdir()):
            scan = [case.name, sequence, case / f"{files['wmh']}.nii.gz", ""]
            rows.append([*scan, case / "lesions.nii.gz", "false", "wmh"])
        for case in sorted((real / "arc_t2_stroke").iterdir()) if "stroke" in files else ():
            scan = [case.name, sequence, case / f"{files['stroke']}.nii.gz", ""]
            rows.append([*scan, case / "lesion.nii.gz", "false", "stroke"])
        for case in sorted((real / "brats_labelled").iterdir()) if "brats" in files else ():
            scan = [case.name, sequence, case / f"{case.name}_{files['brats']}.nii.gz", ""]
            rows.append([*scan, case / f"{case.name}_seg.nii.gz", "false", "tumour"])
        return prepared(rows, out, options)


def lgg(real: Path, folder: Path) -> Path:
    """Prepare FLAIR of 27 people with a low-grade glioma, raw heads in thick slices."""
    out = folder / "lgg"
    with lock(out):
        rows: list[list[object]] = []
        for case in sorted((real / "lgg_flair_heads").glob("TCGA*")):
            scan = [case.name, "FLAIR", case / "FLAIR.nii.gz", ""]
            rows.append([*scan, case / "lesion.nii.gz", "false", "tumour"])
        return prepared(rows, out, [])


MAKERS: dict[str, Maker] = {
    "second_sample": second_sample,
    "real_cases": real_cases,
    "elderly": elderly,
    "lgg": lgg,
    "flair_cases": flair_cases,
    "t2_cases": t2_cases,
}
"""Functions that a settings file may name as `prepare`."""

"""Real T1w slabs with painted anomalies, and the same level of real patients."""

import csv
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from scipy import ndimage

from brainuad.benchmark.runs import program
from brainuad.cohorts.manifest import MANIFEST, Scan, read_cohort, write_cohort
from brainuad.volumes.nifti import read_mask, read_volume

Painter = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""Paints an anomaly: from image, brain mask and generator to painted image and lesion mask."""

FOLDS = 3

RIM = [
    "postprocess.map_steps=[{_target_:brainuad.postprocess.smooth.Median,size_mm:5.0},"
    "{_target_:brainuad.postprocess.erode.ErodeSlices,radius_mm:3.0}]",
]
"""Post-processing of ten slices: `default`, but the rim is eroded within each slice.

Erosion by 3 mm in all directions would clear six of the ten.
"""

NAMES = ("image", "brain_mask", "lesion_mask")
LEVEL = (0.48, 0.54)
"""Level of the slabs as shares of the brain's height from below; z = 0 to 10 mm in MNI152."""


def prepare(root: Path, runs: Path, jobs: int, draw: Painter | None = None) -> Path:
    """Prepare all slabs, each healthy and with an anomaly, N4-corrected, at 1 mm.

    Args:
        root: folder of the real data.
        runs: parent of the cohort folder.
        jobs: number of processes.
        draw: paints an anomaly; None for `paint`.

    Returns:
        The cohort folder.
    """
    draw = draw or paint
    out = runs / "cohort"
    if (out / MANIFEST).is_file():
        return out
    raw = runs / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, folder in enumerate(sorted((root / "t1_slabs_1mm").iterdir())):
        image = nib.as_closest_canonical(nib.load(folder / "T1.nii.gz"))
        labels = nib.as_closest_canonical(nib.load(folder / "labels.nii.gz"))
        brain = np.asarray(labels.dataobj) > 0
        values = np.where(brain, image.get_fdata(dtype=np.float32), 0)
        painted, lesion = draw(values, brain, np.random.default_rng(number))
        name = folder.name
        files = {
            "brain": brain.astype(np.uint8),
            "T1": values,
            "painted": painted,
            "lesion": lesion.astype(np.uint8),
        }
        for kind, array in files.items():
            nib.save(nib.Nifti1Image(array, image.affine), raw / f"{name}_{kind}.nii.gz")
        mask = f"{name}_brain.nii.gz"
        rows.append([name, f"{name}_T1.nii.gz", mask, "", "true"])
        rows.append([f"{name}p", f"{name}_painted.nii.gz", mask, f"{name}_lesion.nii.gz", "false"])
    with (raw / "slabs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["subject", "image", "brain_mask", "lesion_mask", "healthy"])
        writer.writerows(rows)
    n4 = "{_target_: brainuad.preparation.bias.N4, shrink: 4, iterations: [50, 50, 30], "
    n4 += "min_spacing_mm: 3.0}"
    command = [program("prepare"), str(raw / "slabs.csv"), str(out)]
    command += ["--jobs", str(jobs), "preparation=extracted", "preparation.steps.spacing_mm=1"]
    subprocess.run([*command, f"preparation.steps.bias={n4}"], check=True)
    return out


def paint(
    image: np.ndarray, brain: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Paint an ellipsoid of random place, size, direction and value with a soft border."""
    inside = np.argwhere(ndimage.binary_erosion(brain, iterations=3))
    centre = inside[rng.integers(len(inside))]
    radii = rng.uniform([5, 5, 3], [18, 18, 8])
    turn = rng.uniform(0, np.pi)
    x, y, z = (np.indices(image.shape) - centre[:, None, None, None]).astype(float)
    x, y = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
    shape = (x / radii[0]) ** 2 + (y / radii[1]) ** 2 + (z / radii[2]) ** 2 < 1
    return fill(image, brain, shape, rng)


def fill(
    image: np.ndarray, brain: np.ndarray, shape: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Paint a shape with one random value of the brain's range and a border soft over a voxel."""
    low, high = np.percentile(image[brain], [2, 98])
    value = rng.uniform(low, high)
    noise = rng.normal(0, 0.03 * (high - low), image.shape)
    share = ndimage.gaussian_filter(shape.astype(float), 0.7) * brain
    painted = (1 - share) * image + share * np.maximum(value + noise, 0)
    return np.where(brain, painted, 0).astype(np.float32), shape & brain


def deal(cohort: Path, fold: int) -> Path:
    """Split a cohort of slabs: every third subject for testing, a fifth of the others to validate.

    Only painted scans are tested. The scans without the anomaly are their twins.
    """
    out = cohort.parent / f"fold{fold}"
    found = read_cohort(cohort)
    names = sorted({scan.subject.removesuffix("p") for scan in found.scans})
    test = set(names[fold::FOLDS])
    val = set([name for name in names if name not in test][::5])
    healthy = {scan.subject: scan for scan in found.scans if scan.healthy}
    scans = []
    for scan in found.scans:
        name = scan.subject.removesuffix("p")
        if scan.healthy and name not in test:
            scans.append(replace(scan, split="val" if name in val else "train"))
        elif not scan.healthy and name in test:
            painted = replace(scan, split="test", pathology="painted", twin=healthy[name].image)
            scans.append(replace(painted, contrast=contrast(painted)))
    out.mkdir(exist_ok=True)
    write_cohort(out, scans, {"name": f"painted-{fold}"})
    return out


def contrast(scan: Scan) -> float:
    """Return the mean difference of the anomaly to its twin, in standard deviations."""
    assert scan.twin is not None
    assert scan.lesion_mask is not None
    image, twin = read_volume(scan.image).array, read_volume(scan.twin).array
    brain, lesion = read_mask(scan.brain_mask), read_mask(scan.lesion_mask)
    return float((image - twin)[lesion].mean() / twin[brain].std())


def with_real_lesions(painted: Path, real: Path, runs: Path) -> Path:
    """Add real patients at the level of the slabs to the test split.

    Args:
        painted: cohort folder from `deal`.
        real: folder of the real data, with a glioma and two multiple sclerosis patients.
        runs: parent of the cohort folders.

    Returns:
        The folder of the joint cohort.
    """
    out, raw = runs / "cohort_with_real", runs / "real"
    if (out / MANIFEST).is_file():
        return out
    raw.mkdir(parents=True, exist_ok=True)
    tumour = min((real / "tumour_brats_space").iterdir())
    cases = [("glioma", next(tumour.glob("*t1.nii.gz")), tumour / "fused_simple.nii.gz")]
    for number, case in enumerate(sorted((real / "openms_mni_1mm").iterdir()), start=1):
        cases.append((f"ms{number}", case / "T1.nii.gz", case / "GOLD_STANDARD.nii.gz"))
    rows = []
    for name, image_path, lesion_path in cases:
        image, lesion = (
            nib.as_closest_canonical(nib.load(path)) for path in (image_path, lesion_path)
        )
        values = image.get_fdata(dtype=np.float32)
        # The background of the MS cases is not exactly 0.
        brain = values > 0.05 * np.percentile(values, 99)
        heights = np.flatnonzero(brain.sum(axis=(0, 1)) > 100)
        low, high = (int(heights[0] + share * (heights[-1] - heights[0])) for share in LEVEL)
        level = np.zeros(brain.shape, bool)
        level[..., low:high] = True
        files = {
            "T1": np.where(brain & level, values, 0),
            "brain": (brain & level).astype(np.uint8),
            "lesion": (lesion.get_fdata() > 0) & level,
        }
        for kind, array in files.items():
            data = array.astype(np.float32)
            nib.save(nib.Nifti1Image(data, image.affine), raw / f"{name}_{kind}.nii.gz")
        paths = [f"{name}_{kind}.nii.gz" for kind in ("T1", "brain", "lesion")]
        rows.append({"subject": name, "healthy": False} | dict(zip(NAMES, paths, strict=True)))
    pd.DataFrame(rows).to_csv(raw / "cases.csv", index=False)
    command = [program("prepare"), str(raw / "cases.csv"), str(runs / "real_cohort")]
    command += ["preparation=extracted", "preparation.steps.spacing_mm=1"]
    subprocess.run(command, check=True)
    scans: list[Scan] = list(read_cohort(painted).scans)
    for scan in read_cohort(runs / "real_cohort").scans:
        kind = "tumour" if scan.subject == "glioma" else "ms"
        scans.append(replace(scan, split="test", pathology=kind))
    out.mkdir(exist_ok=True)
    write_cohort(out, scans, {"name": "painted-0-real"})
    return out

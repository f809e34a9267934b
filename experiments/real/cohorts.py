"""The cohorts of real people, made from the folder that BRAINUAD_REAL_DATA names."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from brainuad.benchmark import cohorts as shared
from brainuad.benchmark.cohorts import CORRECTED, cases, prepared
from brainuad.benchmark.plan import Maker
from brainuad.cohorts.manifest import Scan, read_cohort, write_cohort
from brainuad.machine.files import write_text
from brainuad.machine.locks import lock
from brainuad.volumes.nifti import read_mask, read_volume, write_volume
from brainuad.volumes.resample import resample_like

SMALLEST_PX, LEAST_CONTRAST = 50, 1.1
"""Smallest size of a clear stroke, and its smallest brightness over that of the brain."""

FINER = "[40,40,30,20]"
"""Iterations of N4 on T1w, as `experiments/universal/ship.py` says."""

T1_LOSS = (0.15, 0.6)
"""Share of the T1w signal that an old stroke loses."""


def soop(real: Path, folder: Path) -> Path:
    """List one FLAIR slice per person: quiet ones to train on, strokes in two groups to test on.

    Returns:
        A table for `data=slices`.
    """
    return _soop(real, folder / "soop.csv", None)


def soop_healthier(real: Path, folder: Path) -> Path:
    """List the same, without training slices of which more than 1 % is as bright as a lesion.

    That is 1.5 times the brain's median. Age brightens tissue as well.
    """
    return _soop(real, folder / "soop_healthier.csv", 0.01)


def _soop(real: Path, out: Path, most_bright: float | None) -> Path:
    table = pd.read_csv(real / "soop" / "index.csv")
    table = table[table.usable == 1]
    seen = table.split.isin(["train", "val"])
    if most_bright is not None:
        table = table[~seen | (table.bright_fraction <= most_bright)]
    clear = (table.lesion_px >= SMALLEST_PX) & (table.contrast > LEAST_CONTRAST)
    quiet = table.quiet == 1
    where = (real / "soop").absolute()
    rows = pd.DataFrame(
        {
            "subject": table.subject,
            "sequence": "FLAIR",
            "image": [where / name for name in table.image],
            "lesion_mask": [
                "" if healthy else where / name
                for name, healthy in zip(table["mask"], quiet, strict=True)
            ],
            "healthy": quiet.map({True: "true", False: "false"}),
            "split": table.split.replace("labelled_val", "val"),
            "pathology": np.where(quiet, "", np.where(clear, "clear stroke", "faint stroke")),
            "pixel_mm": table.pixel_mm,
        }
    )
    write_text(out, rows.to_csv(index=False, lineterminator="\n"))
    return out


def ixi(real: Path, folder: Path) -> Path:
    """Prepare raw T1w heads of thirty healthy people: 20 train, 4 validate, 6 test.

    Two strokes of other people are painted into each of the six, darker than the tissue.
    """
    out = folder / "ixi"
    with lock(out):
        cases = sorted([*(real / "ixi_t1_heads").glob("IXI*"), *(real / "ixi_t1_2mm").glob("IXI*")])
        rows: list[list[object]] = []
        for case in cases:
            rows.append([case.name, "T1w", case / "T1.nii.gz", "", "", "true", ""])
        heads = read_cohort(prepared(rows, folder / "ixi_heads", []))
        names = sorted(scan.subject for scan in heads.scans)
        test = names[::5]
        val = [name for name in names if name not in test][::6]
        scans = []
        for scan in heads.scans:
            split = "test" if scan.subject in test else "val" if scan.subject in val else "train"
            scans.append(replace(scan, split=split))
        shapes = sorted((real / "soop_lesion_shapes_mni").glob("*.nii.gz"))
        for number, scan in enumerate([one for one in scans if one.split == "test"]):
            for copy in range(2):
                rng = np.random.default_rng([number, copy])
                shape = shapes[rng.integers(len(shapes))]
                scans.append(_with_stroke(scan, shape, out / f"{scan.subject}p{copy}", rng))
        info = {"name": "ixi", "recipe": heads.info["recipe"]}
        write_cohort(out, scans, info)
        return out


def _with_stroke(scan: Scan, path: Path, out: Path, rng: np.random.Generator) -> Scan:
    """Return a healthy prepared scan with the stroke of another person, as a new scan."""
    image, brain = read_volume(scan.image), read_mask(scan.brain_mask)
    shape = read_volume(path)
    inside = resample_like(shape.array.astype(np.float32), shape.affine, image) > 0.5
    inside &= brain
    share = ndimage.gaussian_filter(inside.astype(float), 0.7) * brain
    painted = image.array * (1 - rng.uniform(*T1_LOSS) * share)
    files = [out.with_name(f"{out.name}_{kind}.nii.gz") for kind in ("T1w", "lesion")]
    write_volume(files[0], painted.astype(np.float32), image.affine)
    write_volume(files[1], inside, image.affine, np.uint8)
    return replace(
        scan,
        subject=out.name,
        image=files[0],
        lesion_mask=files[1],
        twin=scan.image,
        healthy=False,
        pathology="painted stroke",
        native_image=None,
        transform=None,
    )


def t1_cases(real: Path, folder: Path) -> Path:
    """Prepare T1w of two people with multiple sclerosis, a glioma, five with hyperintensities."""
    names = {"ms": "T1", "glioma": "t1", "wmh": "T1"}
    finer = f"preparation.steps.bias.iterations={FINER}"
    return cases(real, folder, "t1_cases", names, "T1w", (*CORRECTED, finer))


MAKERS: dict[str, Maker] = {
    **shared.MAKERS,
    "soop": soop,
    "soop_healthier": soop_healthier,
    "ixi": ixi,
    "t1_cases": t1_cases,
}
"""Functions that `settings.yaml` may name as `prepare`."""

"""Tissue classes against the labels of 45 healthy T1 slabs, and what a lesion becomes.

    BRAINUAD_REAL_DATA=FOLDER python experiments/tissue/study.py

writes `results.md`, `results.csv` and `tissues.jpg` beside this file.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from brainuad.benchmark.tables import write_results
from brainuad.machine.files import write_text
from brainuad.preparation.tissue.segment import BACKENDS, TissueInput
from brainuad.reporting.drawing.grid import Panel, draw_grid
from brainuad.reporting.tables import to_markdown

HERE = Path(__file__).parent
RUNS = {f"{name}": {"backend": name} for name in BACKENDS} | {
    "hmrf, no field": {"backend": "hmrf", "bias_sigma_mm": None}
}
TISSUES = {"csf": 1, "grey": 2, "white": 3}
INTRODUCTION = """# Results

Written by `study.py`; do not edit. Dice against the labels (deep grey counted as grey), mean over
subjects; `mean` is of grey and white, `worst` the least subject's. Parameters were chosen on every
third subject (`tuning`); the others (`held out`) were scored once.

"""


def load(path: Path) -> tuple[np.ndarray, tuple[float, float, float]]:
    """Voxels and edge lengths."""
    scan = nib.as_closest_canonical(nib.load(path))
    edges = scan.header.get_zooms()[:3]
    return np.asarray(scan.dataobj, np.float32), (float(edges[0]), float(edges[1]), float(edges[2]))


def score(root: Path) -> pd.DataFrame:
    """One row a subject and run."""
    rows = []
    for number, folder in enumerate(sorted((root / "t1_slabs_1mm").iterdir())):
        image, edges = load(folder / "T1.nii.gz")
        truth = load(folder / "labels.nii.gz")[0].astype(int)
        brain = truth > 0
        truth[truth == 4] = 2
        part = "tuning" if number % 3 == 0 else "held out"
        for run, options in RUNS.items():
            start = time.perf_counter()
            labels = TissueInput(**options).segment(image, brain, edges).labels
            row = {"subject": folder.name, "part": part, "run": run}
            row["seconds"] = time.perf_counter() - start
            for name, label in TISSUES.items():
                both = np.sum((labels == label) & (truth == label))
                row[name] = 2 * both / (np.sum(labels == label) + np.sum(truth == label))
            rows.append(row | {"mean": (row["grey"] + row["white"]) / 2})
    return pd.DataFrame(rows)


def table(scores: pd.DataFrame) -> str:
    """All, tuning and held-out subjects, a row a run."""
    rows = []
    for part in ("all", "tuning", "held out"):
        kept = scores if part == "all" else scores[scores.part == part]
        for run in RUNS:
            found = kept[kept.run == run]
            means = [f"{found[name].mean():.3f}" for name in (*TISSUES, "mean")]
            worst = f"{found['mean'].min():.3f}"
            rows.append(
                [part, str(len(found)), run, *means, worst, f"{found.seconds.median():.2f}"]
            )
    header = ["subjects", "n", "run", *TISSUES, "mean", "worst", "seconds, median"]
    return to_markdown(header, rows)


def draw(root: Path, path: Path) -> str:
    """Pictures of two patients, and what share of each lesion got which label."""
    tumour, ms = root / "tumour_brats_space", root / "openms_mni_1mm"
    cases = []
    for patient in [min(tumour.iterdir())]:
        outline = next(patient.rglob("fused_simple.nii.gz"))
        for name in ("t1", "t2", "fla"):
            scan = next(p for p in sorted(patient.rglob("*.nii.gz")) if _sequence(p) == name)
            cases.append((f"glioma, {name}", scan, outline))
    patient = min(ms.iterdir())
    for name in ("T1", "T2", "FLAIR"):
        outline = patient / "GOLD_STANDARD.nii.gz"
        cases.append((f"MS, {name}", patient / f"{name}.nii.gz", outline))
    columns, rows = [], []
    for title, scan, outline in cases:
        image, edges = load(scan)
        lesion = load(outline)[0] > 0
        brain = image > 0.02 * np.percentile(image, 99.5)
        start = time.perf_counter()
        found = TissueInput().segment(image, brain, edges)
        seconds = time.perf_counter() - start
        shares = [f"{np.mean(found.labels[lesion & brain] == k):.2f}" for k in (1, 2, 3)]
        rows.append([title, *shares, f"{seconds:.1f}"])
        cut = int(lesion.sum((0, 1)).argmax())
        shown = (
            (image, "gray", 0, np.percentile(image[brain], 99.5)),
            (found.labels, "viridis", 0, 3),
            (found.partial_volume, "gray", 0, 3),
            (found.bias, "coolwarm", 0.7, 1.3),
        )
        marked = [(lesion[..., cut], "red")]
        columns.append(
            [
                Panel(volume[..., cut], title * (volume is image), low, high, colours, marked)
                for volume, colours, low, high in shown
            ]
        )
    sheet = draw_grid(list(zip(*columns, strict=True)), width=125, scale=1.0)
    path.write_bytes(sheet.jpeg().jpeg)
    header = ["lesion", "darkest class", "middle", "brightest", "seconds"]
    return to_markdown(header, rows)


def _sequence(path: Path) -> str:
    """`t1` of `TCGA_t1.nii.gz`."""
    return path.name.split(".")[0].replace("-", "_").split("_")[-1]


def main() -> None:
    """Entry point."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    root = os.environ.get("BRAINUAD_REAL_DATA")
    if not root:
        sys.exit("BRAINUAD_REAL_DATA is not set: give the folder of real scans")
    scores = score(Path(root))
    write_results(HERE / "results.csv", scores)
    text = INTRODUCTION + table(scores)
    text += "\n## What a lesion becomes\n\nShares of its voxels, `hmrf`; see `tissues.jpg` (image,"
    text += " labels, partial volume, field; the lesion's outline in red).\n\n"
    text += draw(Path(root), HERE / "tissues.jpg")
    write_text(HERE / "results.md", text)
    print(text)


if __name__ == "__main__":
    main()

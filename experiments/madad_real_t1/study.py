"""MAD-AD on real T1: trained on healthy slabs, tested on painted and on real lesions.

    BRAINUAD_REAL_DATA=FOLDER python -m experiments.madad_real_t1.study

takes the cohort of `experiments/strega_painted` (45 healthy slabs at the level of the basal
ganglia; fold 0: 15 subjects with a painted anomaly to test on), adds that level of the real T1 of
a glioma and of two multiple sclerosis patients, trains, and writes `results.md` and `results.csv`
beside this file.
"""

import argparse
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from brainuad.cohorts.manifest import MANIFEST, Scan, read_cohort, write_cohort
from brainuad.metrics.statistics import paired_wilcoxon, summarise
from brainuad.reporting.tables import to_markdown
from experiments.groups import read_subjects
from experiments.madad_prototypes.study import CONTROLS
from experiments.runs import ROOT, variant
from experiments.strega_painted.study import RIM, deal, prepare

HERE = Path(__file__).parent
NAMES = ("image", "brain_mask", "lesion_mask")
LEVEL = (0.48, 0.54)
"""Of the brain's height, from below: z = 0 to 10 mm of MNI152, where the slabs lie."""

SIZES = [
    "data.slice_size=[160,192]",
    "first_stage.max_epochs=20",
    "first_stage.model.autoencoder.network.channels=[32,64]",
    "first_stage.model.autoencoder.network.num_res_blocks=[2,2]",
    "first_stage.model.autoencoder.network.attention_levels=[false,false]",
]
"""Frames of 160 x 192 mm at 1 mm and the paper's cells of 8 mm: one halving more than at 2 mm."""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "study" / "madad_real_t1")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("options", nargs="*", metavar="key=value", help="for train.py")
    arguments = parser.parse_args()
    real = Path(os.environ["BRAINUAD_REAL_DATA"])
    painted = deal(prepare(real, arguments.runs, arguments.jobs), 0)
    cohort = with_real_lesions(painted, real, arguments.runs)
    out = arguments.runs / "madad"
    if not (out / "report.html").is_file():
        command = [
            sys.executable,
            "train.py",
            "experiment=madad_prototypes",
            "data=folder",
            *SIZES,
            *RIM,
        ]
        command += [f"data.source={cohort}", "data.sequence=T1w", f"paths.output_dir={out}"]
        command += [f"max_epochs={arguments.epochs}", "ckpt=last", *arguments.options]
        subprocess.run(command, check=True, cwd=ROOT)
    frames, tested = [read_subjects(out)], read_cohort(cohort)
    for name, load in CONTROLS.items():
        scored = variant(out, name, tested, "T1w", load, RIM)
        frames.append(read_subjects(scored, name))
    table = pd.concat(frames)
    columns = ["subject", "pathology", "contrast", "method", "metric", "value"]
    table[columns].to_csv(HERE / "results.csv", index=False)
    text = report(table)
    (HERE / "results.md").write_text(text)
    print(text)


def with_real_lesions(painted: Path, real: Path, runs: Path) -> Path:
    """The painted cohort and the slabs' level of the real cases, for testing."""
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
    tool = Path(sys.executable).with_name("brainuad-prepare")
    command = [str(tool), str(raw / "cases.csv"), str(runs / "real_cohort")]
    command += ["preparation=extracted", "preparation.steps.spacing_mm=1"]
    subprocess.run(command, check=True, cwd=ROOT)
    scans: list[Scan] = list(read_cohort(painted).scans)
    for scan in read_cohort(runs / "real_cohort").scans:
        kind = "tumour" if scan.subject == "glioma" else "ms"
        scans.append(replace(scan, split="test", pathology=kind))
    out.mkdir(exist_ok=True)
    write_cohort(out, scans, {"name": "painted-0-real"})
    return out


def report(table: pd.DataFrame) -> str:
    """AP and Dice of the painted subjects with intervals, and of each real case."""
    text = "# Results\n\nWritten by `study.py`; do not edit. Painted: mean with 95 % bootstrap "
    text += "interval over subjects. One seed.\n\n"
    rows = []
    real = sorted(table[table.pathology != "painted"].subject.unique())
    for metric in ("AP", "Dice", "⌈Dice⌉"):
        for method in table.method.unique():
            part = table[(table.metric == metric) & (table.method == method)]
            painted = part[part.pathology == "painted"].value.to_numpy(float)
            found = summarise(painted)
            cells = [f"{found.mean:.3f} ({found.ci_low:.3f} to {found.ci_high:.3f})"]
            values = part.set_index("subject").value
            cells += [f"{values[name]:.3f}" if name in values else "-" for name in real]
            rows.append([metric, method, *cells])
    count = table[table.pathology == "painted"].subject.nunique()
    text += to_markdown(["metric", "method", f"painted (n={count})", *real], rows)
    ap = table[(table.metric == "AP") & (table.pathology == "painted")]
    ap = ap.pivot(index="subject", columns="method", values="value")
    text += "\nAP of the painted subjects, madad against the others, paired Wilcoxon:\n\n"
    others = [name for name in ("intensity", *CONTROLS) if name in ap]
    rows = []
    for other in others:
        p = paired_wilcoxon(ap["madad"].to_numpy(), ap[other].to_numpy())
        rows.append([other, f"{(ap['madad'] - ap[other]).mean():+.3f}", f"{p:.2g}"])
    return text + to_markdown(["against", "difference", "p"], rows)


if __name__ == "__main__":
    main()

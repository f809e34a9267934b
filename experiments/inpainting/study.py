"""Holes in held-out healthy brains, embedded and real, and the real voided BraTS case repainted.

    BRAINUAD_REAL_DATA=FOLDER python -m experiments.inpainting.study

compares AutoPaint with a ceVAE, trained alike, on the T2w of the embedded cohort (the model of
`experiments.autopaint_prototypes`, seed 0) and on real T1 slabs, writes `results.md`, trains
AutoPaint on whole real T1 heads, and repaints the hole of the BraTS inpainting challenge's example
by `brainuad-inpaint`. Finished parts are kept.
"""

import argparse
import csv
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pandas as pd

from brainuad.benchmark.runs import embedded, program
from brainuad.benchmark.slabs import deal, prepare
from brainuad.cohorts.manifest import MANIFEST, Scan, read_cohort
from experiments.inpainting.fill import fill_scans, table

HERE = Path(__file__).parent
ONLY_TRAIN = ["predict=false", "evaluate=false", "report=false"]
REAL = ["data=folder", "data.sequence=T1w", "datamodule.batch_size=8"]
SLABS = [*REAL, "data.slice_size=[160,192]"]
HEADS = [*REAL, "data.slice_size=[168,200]"]


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/study/inpainting"))
    parser.add_argument(
        "--embedded", type=Path, default=Path("runs/study/autopaint_prototypes/T2w-0")
    )
    parser.add_argument("--epochs", type=int, nargs=2, default=[12, 30], help="embedded, slabs")
    parser.add_argument("--head-epochs", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1, help="processes that prepare scans")
    parser.add_argument("--parts", nargs="+", default=["embedded", "slabs", "brats"])
    parser.add_argument("options", nargs="*", metavar="key=value", help="for train.py")
    arguments = parser.parse_args()
    runs, tables = arguments.runs, []
    for part, epochs in zip(("embedded", "slabs"), arguments.epochs, strict=True):
        scores = runs / f"{part}.csv"
        if part in arguments.parts and not scores.is_file():
            given = arguments.embedded / "model.ckpt" if part == "embedded" else None
            found = measure(part, epochs, runs, arguments.jobs, arguments.options, given)
            found.to_csv(scores, index=False)
        if scores.is_file():
            tables.append((part, pd.read_csv(scores)))
    if "brats" in arguments.parts:
        repaint_brats(runs, arguments.head_epochs, arguments.jobs, arguments.options)
    names = {"embedded": "Embedded cohort, T2w, 2 mm", "slabs": "Real T1 slabs, 1 mm"}
    text = "# Results\n\nWritten by `study.py`; do not edit.\n"
    for part, scores in tables:
        text += f"\n## {names[part]}\n\n{table(scores)}"
    (HERE / "results.md").write_text(text)
    print(text)


def measure(
    part: str, epochs: int, runs: Path, jobs: int, options: list[str], given: Path | None
) -> pd.DataFrame:
    """Trains both methods, the first where it is not given, and fills holes with them."""
    where = ["data.sequence=T2w"]
    if part == "slabs":
        folder = deal(prepare(Path(os.environ["BRAINUAD_REAL_DATA"]), runs, jobs), 0)
        where = [*SLABS, f"data.source={folder}"]
    ours = given or run(runs / f"{part}-autopaint", [*autopaint(epochs), *where], epochs, options)
    vae = ["experiment=strega", "input=intensity", "name=cevae", *where]
    other = run(runs / f"{part}-cevae", vae, epochs, options)
    cohort = embedded(ours) if part == "embedded" else read_cohort(folder)
    scans: list[Scan] = []
    for scan in cohort.select("test", "T2w" if part == "embedded" else "T1w"):
        if scan.healthy:
            scans.append(scan)
        elif scan.twin is not None:
            scans.append(replace(scan, image=scan.twin))
    return fill_scans(ours, other, scans)


def autopaint(epochs: int) -> list[str]:
    """The shipped experiment; its second phase is the last two epochs."""
    return ["experiment=autopaint", f"model.freeze_norm_epoch={epochs - 2}"]


def run(out: Path, what: list[str], epochs: int, options: list[str]) -> Path:
    """The model file of one training."""
    model = out / "model.ckpt"
    if not model.is_file():
        command = [program("train"), *what, f"max_epochs={epochs}", *ONLY_TRAIN]
        command += [f"paths.output_dir={out}", "ckpt=last", *options]
        subprocess.run(command, check=True)
    return model


def repaint_brats(runs: Path, epochs: int, jobs: int, options: list[str]) -> None:
    """Whole real T1 heads to a model, the challenge's case to an image and a picture."""
    real = Path(os.environ["BRAINUAD_REAL_DATA"])
    heads = runs / "heads"
    if not (heads / MANIFEST).is_file():
        source = runs / "heads.csv"
        sets = ("ixi_t1_2mm", "nichart_elderly_2mm")
        paths = [path for name in sets for path in sorted((real / name).glob("*/T1.nii.gz"))]
        with source.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["subject", "image", "healthy"])
            writer.writerows([path.parent.name, path, "true"] for path in paths)
        command = [program("prepare"), str(source), str(heads), "--jobs", str(jobs)]
        subprocess.run([*command, "preparation.steps.spacing_mm=1"], check=True)
    what = [*autopaint(epochs), *HEADS, f"data.source={heads}"]
    model = run(runs / "heads-autopaint", what, epochs, options)
    folder = real / "brats_gli_example" / "inpainting"
    scan, mask = next(folder.glob("*voided.nii.gz")), next(folder.glob("*mask.nii.gz"))
    out = runs / "brats_inpainted.nii.gz"
    command = [program("inpaint"), str(scan), str(mask), str(out), "--model", str(model)]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()

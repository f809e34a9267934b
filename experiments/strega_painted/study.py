"""StRegA, its intensity variant and a plain VAE on anomalies painted into real healthy T1 slabs.

    BRAINUAD_REAL_DATA=FOLDER python experiments/strega_painted/study.py

prepares the cohort, trains every method on three folds of subjects (a seed each; finished runs are
kept) and writes `results.md` and `results.csv` beside this file.
"""

import argparse
import csv
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from scipy import ndimage

from brainuad.cohorts.manifest import MANIFEST, Scan, read_cohort, write_cohort
from brainuad.evaluation.results import ISO_CONTRAST
from brainuad.metrics.statistics import holm, paired_wilcoxon, summarise
from brainuad.reporting.tables import to_markdown
from brainuad.volumes.nifti import read_mask, read_volume

Painter = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""From an image, its brain mask and a generator to the painted image and the lesion's mask."""

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FOLDS = 3
METHODS = {
    "strega": ["input=tissue"],
    "strega_intensity": ["input=intensity"],
    "vae": ["input=intensity", "model.ce_factor=0"],
}
EPOCHS = 20
"""Of about 30 steps; chosen for the time that three methods in three folds may take together."""

CONTROLLED = "strega_intensity"
"""The method whose runs hold the controls, which are the same beside every method."""

CONTROLS = ("intensity", "oracle_reconstruction")
RIM = [
    # As postprocess=default, but the rim is cleared slice by slice: in all directions, 3 mm would
    # clear six of the ten slices.
    "postprocess.map_steps=[{_target_:brainuad.postprocess.smooth.Median,size_mm:5.0},"
    "{_target_:brainuad.postprocess.erode.ErodeSlices,radius_mm:3.0}]",
]
SETTING = [
    "data.slice_size=[160,192]",
    "datamodule.batch_size=8",
    "trainer.precision=bf16-mixed",
    # Without it the validation loss of so short a training jumps from epoch to epoch.
    "model.scheduler={_target_:brainuad.methods.parts.schedules.warmup_cosine,_partial_:true,"
    "epochs:${max_epochs},warmup_epochs:1,stretch:1.05}",
    *RIM,
]
"""The same for all of them: many small steps, so that minutes on one core are enough."""

METRICS = {
    ("none", "auprc"): "AP",
    ("healthy", "dice"): "Dice",
    ("oracle", "dice"): "⌈Dice⌉",
    ("otsu", "dice"): "Dice, published chain",
}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "study" / "strega_painted")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--jobs", type=int, default=2, help="processes that prepare scans")
    parser.add_argument("--folds", nargs="+", type=int, default=list(range(FOLDS)))
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("options", nargs="*", metavar="key=value", help="for train.py")
    arguments = parser.parse_args()
    cohort = prepare(Path(os.environ["BRAINUAD_REAL_DATA"]), arguments.runs, arguments.jobs)
    tables = []
    for fold in arguments.folds:
        folder = deal(cohort, fold)
        for name in arguments.methods:
            out = arguments.runs / f"{name}-{fold}"
            train(name, fold, folder, out, arguments.epochs, arguments.options)
            tables.append(read(out, name, fold, keep_control=name == CONTROLLED))
    table = pd.concat(tables)
    table.to_csv(HERE / "results.csv", index=False)
    text = report(table, arguments.epochs)
    (HERE / "results.md").write_text(text)
    print(text)


def prepare(root: Path, runs: Path, jobs: int, draw: Painter | None = None) -> Path:
    """The cohort of all slabs, each as it is and with an anomaly, N4-corrected, at 1 mm.

    Args:
        root: of the real data.
        runs: where the cohort is made.
        jobs: processes.
        draw: paints an anomaly; `paint` for none.
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
    tool = Path(sys.executable).with_name("brainuad-prepare")
    command = [str(tool), str(raw / "slabs.csv"), str(out)]
    command += ["--jobs", str(jobs), "preparation=extracted", "preparation.steps.spacing_mm=1"]
    subprocess.run([*command, f"preparation.steps.bias={n4}"], check=True, cwd=ROOT)
    return out


def paint(
    image: np.ndarray, brain: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """An ellipsoid of random place, size, direction and value, its border soft over a voxel."""
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
    """A shape in the image, of one random value of the brain's, its border soft over a voxel."""
    low, high = np.percentile(image[brain], [2, 98])
    value = rng.uniform(low, high)
    noise = rng.normal(0, 0.03 * (high - low), image.shape)
    share = ndimage.gaussian_filter(shape.astype(float), 0.7) * brain
    painted = (1 - share) * image + share * np.maximum(value + noise, 0)
    return np.where(brain, painted, 0).astype(np.float32), shape & brain


def deal(cohort: Path, fold: int) -> Path:
    """The cohort with every third subject for testing and six of the others for validation.

    Tested are the painted scans alone; the scans they were painted on are their twins.
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
    """How much brighter than the twin the anomaly is, in standard deviations of the brain."""
    assert scan.twin is not None
    image, twin = read_volume(scan.image).array, read_volume(scan.twin).array
    brain, lesion = read_mask(scan.brain_mask), read_mask(scan.lesion_mask)
    return float((image - twin)[lesion].mean() / twin[brain].std())


def train(name: str, fold: int, cohort: Path, out: Path, epochs: int, options: list[str]) -> None:
    """One run, and its maps scored once more behind the published chain."""
    again = out / "published"
    common = ["data=folder", f"data.source={cohort}", "data.sequence=T1w"]
    if not (out / "summary.json").is_file():
        command = [sys.executable, "train.py", "experiment=strega", *METHODS[name]]
        command += [*common, f"name={name}", f"seed={fold}", f"max_epochs={epochs}"]
        command += [*SETTING, f"paths.output_dir={out}", "ckpt=last", "report=false", *options]
        if name != CONTROLLED:
            command += ["controls=none"]
        subprocess.run(command, check=True, cwd=ROOT)
    if not (again / "summary.json").is_file():
        command = [sys.executable, "evaluate.py", f"maps={out / 'prepared'}", f"name={name}"]
        command += [*common, "postprocess=strega", f"paths.output_dir={again}"]
        command += [] if name == CONTROLLED else ["controls=none"]
        subprocess.run(command, check=True, cwd=ROOT)


def read(out: Path, name: str, fold: int, keep_control: bool) -> pd.DataFrame:
    """Scores of the painted subjects; of the intensity control once a fold."""
    parts = []
    for folder, wanted in (
        (out, lambda t: t != "otsu"),
        (out / "published", lambda t: t == "otsu"),
    ):
        scores = pd.read_csv(folder / "scores.csv")
        methods = [name, *CONTROLS] if keep_control else [name]
        scores = scores[scores.method.isin(methods) & (scores.pathology == "painted")]
        key = list(zip(scores.threshold, scores.metric, strict=True))
        scores = scores.assign(metric=[METRICS.get(k) for k in key])
        kept = scores[scores.metric.notna() & scores.threshold.map(wanted)]
        parts.append(kept[["subject", "contrast", "method", "metric", "value"]])
    return pd.concat(parts).assign(fold=fold)


def report(table: pd.DataFrame, epochs: int) -> str:
    """Means with intervals over all subjects, each tested once, and paired tests."""
    count = table.subject.nunique()
    text = f"# Results\n\nWritten by `study.py`; do not edit. {count} subjects, each tested once "
    text += f"in one of {table.fold.nunique()} folds (a seed each), {epochs} epochs. Mean with "
    text += "95 % bootstrap interval over subjects.\n\n"
    metrics = [m for m in METRICS.values() if m in set(table.metric)]
    rows = []
    values = {}
    for name in [*METHODS, *CONTROLS]:
        cells = []
        for metric in metrics:
            part = table[(table.method == name) & (table.metric == metric)]
            values[name, metric] = part.set_index("subject").value.sort_index()
            if part.empty:
                cells.append("-")
                continue
            found = summarise(part.value.to_numpy(float))
            cells.append(f"{found.mean:.3f} ({found.ci_low:.3f} to {found.ci_high:.3f})")
        rows.append([name, *cells])
    text += to_markdown(["method", *metrics], rows)
    text += "\nBy fold, Dice at the healthy threshold and AP:\n\n"
    folds = sorted(table.fold.unique())
    rows = []
    for metric in ("Dice", "AP"):
        for name in [*METHODS, *CONTROLS]:
            part = table[(table.method == name) & (table.metric == metric)]
            means = part.groupby("fold").value.mean()
            rows.append([metric, name, *(f"{means.get(f, np.nan):.3f}" for f in folds)])
    text += to_markdown(["metric", "method", *(f"fold {f}" for f in folds)], rows)
    text += "\nAP by the anomaly's brightness, against what it was painted over (beyond "
    text += f"{ISO_CONTRAST} standard deviations of the brain, or within):\n\n"
    groups = {
        "dark": table.contrast < -ISO_CONTRAST,
        "iso": table.contrast.abs() <= ISO_CONTRAST,
        "bright": table.contrast > ISO_CONTRAST,
    }
    header = [f"{g} (n={table[member].subject.nunique()})" for g, member in groups.items()]
    rows = []
    for name in [*METHODS, *CONTROLS]:
        of_it = (table.method == name) & (table.metric == "AP")
        found = [table[of_it & member].value.mean() for member in groups.values()]
        rows.append([name, *(f"{mean:.3f}" for mean in found)])
    text += to_markdown(["method", *header], rows)
    text += "\n`strega` against the others, paired Wilcoxon over subjects, Holm-corrected:\n\n"
    pairs = [(o, m) for o in [*METHODS, *CONTROLS] if o != "strega" for m in metrics]
    pairs = [p for p in pairs if len(values[p]) and len(values["strega", p[1]])]
    ps = [
        paired_wilcoxon(values["strega", m].to_numpy(), values[o, m].to_numpy()) for o, m in pairs
    ]
    rows = [
        [
            other,
            metric,
            f"{(values['strega', metric] - values[other, metric]).mean():+.3f}",
            f"{p:.2g}",
        ]
        for (other, metric), p in zip(pairs, holm(np.array(ps)), strict=True)
    ]
    return text + to_markdown(["against", "metric", "difference", "p"], rows)


if __name__ == "__main__":
    main()

"""StRegA, its intensity variant and a plain VAE on anomalies painted into real healthy T1 slabs.

    BRAINUAD_REAL_DATA=FOLDER python experiments/strega_painted/study.py

prepares the cohort, trains every method on three folds of subjects (a seed each; finished runs are
kept) and writes `results.md` and `results.csv` beside this file.
"""

import argparse
import os
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd

from brainuad.benchmark.runs import program
from brainuad.benchmark.slabs import FOLDS, RIM, deal, prepare
from brainuad.benchmark.tables import write_results
from brainuad.evaluation.results import ISO_CONTRAST
from brainuad.metrics.statistics import holm, paired_wilcoxon, summarise
from brainuad.reporting.tables import to_markdown

HERE = Path(__file__).parent
METHODS = {
    "strega": ["input=tissue"],
    "strega_intensity": ["input=intensity"],
    "vae": ["input=intensity", "model.ce_factor=0"],
}
EPOCHS = 20
"""Number of epochs of about 30 steps, limited by the time of three methods in three folds."""

CONTROLLED = "strega_intensity"
"""The method whose runs hold the controls, which are the same beside every method."""

CONTROLS = ("intensity", "oracle_reconstruction")
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
    parser.add_argument("--runs", type=Path, default=Path("runs/study/strega_painted"))
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
    write_results(HERE / "results.csv", table)
    text = report(table, arguments.epochs)
    (HERE / "results.md").write_text(text)
    print(text)


def train(name: str, fold: int, cohort: Path, out: Path, epochs: int, options: list[str]) -> None:
    """One run, and its maps scored once more behind the published chain."""
    again = out / "published"
    common = ["data=folder", f"data.source={cohort}", "data.sequence=T1w"]
    if not (out / "summary.json").is_file():
        command = [program("train"), "experiment=strega", *METHODS[name]]
        command += [*common, f"name={name}", f"seed={fold}", f"max_epochs={epochs}"]
        command += [*SETTING, f"paths.output_dir={out}", "ckpt=last", "report=false", *options]
        if name != CONTROLLED:
            command += ["controls=none"]
        subprocess.run(command, check=True)
    if not (again / "summary.json").is_file():
        command = [program("evaluate"), f"maps={out / 'prepared'}", f"name={name}"]
        command += [*common, "postprocess=strega", f"paths.output_dir={again}"]
        command += [] if name == CONTROLLED else ["controls=none"]
        subprocess.run(command, check=True)


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

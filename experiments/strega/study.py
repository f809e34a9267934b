"""StRegA for a CPU on the embedded cohort, on tissue maps and on intensities, beside its controls.

    python experiments/strega/study.py

trains each sequence, input and seed (about five minutes each on two cores; finished runs are
kept) and writes `results.md` and `results.csv` beside this file.
"""

import argparse
import json
import math
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from brainuad.evaluation.results import ISO_CONTRAST
from brainuad.reporting.tables import to_markdown

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
THIRD = "iso third of tumours"
"""The third of the tumours that differs least in brightness from the healthy twin."""

GROUPS = ("all", "tumour", THIRD, "ms", "stroke", "bright", "iso", "dark")
METHODS = {"strega_small": "tissue", "strega_small_intensity": "intensity"}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "study" / "strega")
    parser.add_argument("--sequences", nargs="+", default=["T2w", "FLAIR", "T1w"])
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("options", nargs="*", metavar="key=value", help="for train.py")
    arguments = parser.parse_args()
    for sequence, method, seed in product(arguments.sequences, arguments.methods, arguments.seeds):
        out = arguments.runs / f"{method}-{sequence}-{seed}"
        if not (out / "summary.json").is_file():
            train(method, sequence, seed, out, arguments.options)
    rows = []
    # All that is there, so that sequences may be given other seeds in calls of their own.
    for out in sorted(arguments.runs.glob("*/summary.json")):
        method, sequence, seed = out.parent.name.split("-")
        rows += read(method, sequence, int(seed), out.parent)
    table = pd.DataFrame(rows)
    table.to_csv(HERE / "results.csv", index=False)
    text = "# Results\n\nWritten by `study.py`; do not edit. Means over subjects, then, where there"
    text += " is more than one seed, mean ± standard deviation over seeds. The controls learn "
    text += "nothing.\n"
    for sequence in dict.fromkeys(table.sequence):
        text += f"\n## {sequence}\n\n{markdown(table[table.sequence == sequence])}"
    text += "\n## Training\n\nA run each; seconds include the tissue maps. The error is the mean "
    text += "absolute one in the brains of the healthy validation subjects; `AP, iso third` is as "
    text += f"above, `times` over the intensity baseline's.\n\n{training(arguments.runs, table)}"
    (HERE / "results.md").write_text(text)
    print(text)


def train(method: str, sequence: str, seed: int, out: Path, options: list[str]) -> None:
    """One run of the shipped experiment; goes on where it was interrupted."""
    command = [sys.executable, str(ROOT / "train.py"), "experiment=strega_small", f"name={method}"]
    command += [f"input={METHODS[method]}", f"data.sequence={sequence}", f"seed={seed}"]
    command += [f"paths.output_dir={out}", "ckpt=last", "trainer.precision=bf16-mixed", *options]
    if method != next(iter(METHODS)):  # the controls are the same beside every method
        command += ["controls=none"]
    subprocess.run(command, check=True, cwd=ROOT)


def read(method: str, sequence: str, seed: int, out: Path) -> list[dict[str, object]]:
    """The means of a run's subjects; of the controls, those beside the first method."""
    scores = pd.read_csv(out / "scores.csv")
    wanted = {("none", "auprc"): "AP", ("healthy", "dice"): "Dice", ("oracle", "dice"): "⌈Dice⌉"}
    key = list(zip(scores.threshold, scores.metric, strict=True))
    scores = scores.assign(metric=[wanted.get(k) for k in key])
    sick = scores[scores.metric.notna() & scores.pathology.notna() & (scores.pathology != "")]
    if method != next(iter(METHODS)):
        sick = sick[sick.method == method]
    tumours = sick[sick.pathology == "tumour"].groupby("subject").contrast.first().abs()
    third = tumours.nsmallest(math.ceil(len(tumours) / 3)).index
    groups = {"all": sick.subject.notna(), THIRD: sick.subject.isin(third)}
    groups |= {name: sick.pathology == name for name in ("tumour", "ms", "stroke")}
    groups["bright"] = sick.contrast > ISO_CONTRAST
    groups["dark"] = sick.contrast < -ISO_CONTRAST
    groups["iso"] = ~groups["bright"] & ~groups["dark"]
    rows = []
    for group, member in groups.items():
        for (name, metric), part in sick[member].groupby(["method", "metric"], sort=False):
            row = {"sequence": sequence, "seed": seed, "method": name, "group": group}
            rows.append(row | {"n": len(part), "metric": metric, "mean": part.value.mean()})
    return rows


def training(runs: Path, table: pd.DataFrame) -> str:
    """Seconds of each run, its healthy error, and its AP where brightness does not help."""
    rows = []
    for out in sorted(runs.glob("*/summary.json")):
        method, sequence, seed = out.parent.name.split("-")
        seconds = json.loads(out.read_text())["provenance"]["fit_s"]
        epochs = yaml.safe_load((out.parent / "config.yaml").read_text())["max_epochs"]
        latent = json.loads((out.parent / "latent.json").read_text())
        errors = [latent["error"][f"clean/{k}"] for k in ("reconstruction", "mean_image")]
        third = table[
            (table.sequence == sequence) & (table.group == THIRD) & (table.metric == "AP")
        ]
        found = third[(third.method == method) & (third.seed == int(seed))]["mean"].item()
        times = found / third[third.method == "intensity"]["mean"].iloc[0]
        used = f"{latent['in_use']}/{latent['latent_dim']}"
        row = [
            sequence,
            method,
            seed,
            str(epochs),
            f"{seconds:.0f}",
            *(f"{error:.4f}" for error in errors),
        ]
        rows.append([*row, used, f"{found:.3f}", f"{times:.1f}"])
    header = [
        "sequence",
        "method",
        "seed",
        "epochs",
        "until trained, s",
        "error",
        "error of the mean image",
    ]
    return to_markdown([*header, "latent in use", "AP, iso third", "times"], rows)


def markdown(table: pd.DataFrame) -> str:
    """Rows of method and metric, columns of groups."""
    groups = [group for group in GROUPS if group in set(table.group)]
    counts = table.groupby("group").n.first()
    header = ["metric", "method", *(f"{group} (n={counts[group]})" for group in groups)]
    rows = []
    for metric in ("AP", "Dice", "⌈Dice⌉"):
        for method in table.method.unique():
            part = table[(table.metric == metric) & (table.method == method)]
            cells = []
            for group in groups:
                values = part[part.group == group]["mean"].to_numpy(float)
                spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
                cells.append(f"{np.mean(values):.3f}{spread}")
            rows.append([metric, method, *cells])
    return to_markdown(header, rows)


if __name__ == "__main__":
    main()

"""StRegA for a CPU on the embedded cohort, on tissue maps and on intensities, beside its controls.

    python -m experiments.strega.study

trains each sequence, input and seed (about five minutes each on two cores; finished runs are
kept) and writes `results.md` and `results.csv` beside this file.
"""

import argparse
import json
import subprocess
from itertools import product
from pathlib import Path

import pandas as pd
import yaml

from brainuad.benchmark.groups import THIRD, group_means, read_subjects, to_table
from brainuad.benchmark.runs import program
from brainuad.benchmark.tables import write_results
from brainuad.reporting.tables import to_markdown

HERE = Path(__file__).parent
METHODS = {"strega": "tissue", "strega_on_intensities": "intensity"}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/study/strega"))
    parser.add_argument("--sequences", nargs="+", default=["T2w", "FLAIR", "T1w"])
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("options", nargs="*", metavar="key=value", help="for train.py")
    arguments = parser.parse_args()
    for sequence, method, seed in product(arguments.sequences, arguments.methods, arguments.seeds):
        out = arguments.runs / f"{method}-{sequence}-{seed}"
        if not (out / "summary.json").is_file():
            train(method, sequence, seed, out, arguments.options)
    tables = []
    # All that is there, so that sequences may be given other seeds in calls of their own.
    for out in sorted(arguments.runs.glob("*/summary.json")):
        method, sequence, seed = out.parent.name.split("-")
        # Of the controls, those beside the first method.
        own = None if method == next(iter(METHODS)) else method
        means = group_means(read_subjects(out.parent, own))
        means.insert(0, "sequence", sequence)
        means.insert(1, "seed", int(seed))
        tables.append(means)
    table = pd.concat(tables, ignore_index=True)
    write_results(HERE / "results.csv", table)
    text = "# Results\n\nWritten by `study.py`; do not edit. Means over subjects, then, where there"
    text += " is more than one seed, mean ± standard deviation over seeds. The controls learn "
    text += "nothing.\n"
    for sequence in dict.fromkeys(table.sequence):
        text += f"\n## {sequence}\n\n{to_table(table[table.sequence == sequence])}"
    text += "\n## Training\n\nA run each; seconds include the tissue maps. The error is the mean "
    text += "absolute one in the brains of the healthy validation subjects; `AP, iso third` is as "
    text += f"above, `times` over the intensity baseline's.\n\n{training(arguments.runs, table)}"
    (HERE / "results.md").write_text(text)
    print(text)


def train(method: str, sequence: str, seed: int, out: Path, options: list[str]) -> None:
    """One run of the shipped experiment; goes on where it was interrupted."""
    command = [program("train"), "experiment=strega", f"name={method}"]
    command += [f"input={METHODS[method]}", f"data.sequence={sequence}", f"seed={seed}"]
    command += [f"paths.output_dir={out}", "ckpt=last", "trainer.precision=bf16-mixed", *options]
    if method != next(iter(METHODS)):  # the controls are the same beside every method
        command += ["controls=none"]
    subprocess.run(command, check=True)


def training(runs: Path, table: pd.DataFrame) -> str:
    """Seconds of each run, its healthy error, and its AP where brightness does not help."""
    rows = []
    for out in sorted(runs.glob("*/summary.json")):
        method, sequence, seed = out.parent.name.split("-")
        seconds = json.loads(out.read_text())["provenance"]["fit_s"]
        epochs = yaml.safe_load((out.parent / "config.yaml").read_text())["max_epochs"]
        latent = json.loads((out.parent / "checks.json").read_text())
        errors = [latent[f"error/clean/{k}"] for k in ("reconstruction", "mean_image")]
        third = table[
            (table.sequence == sequence) & (table.group == THIRD) & (table.metric == "AP")
        ]
        found = third[(third.method == method) & (third.seed == int(seed))]["mean"].item()
        times = found / third[third.method == "intensity"]["mean"].iloc[0]
        used = f"{latent['in_use']:.0f}/{latent['latent_dim']:.0f}"
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


if __name__ == "__main__":
    main()

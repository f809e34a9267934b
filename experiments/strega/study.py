"""The compact ceVAE on the embedded cohort, beside its controls, per sequence and lesion.

    python experiments/strega/study.py

trains each sequence and seed (about five minutes each on two cores; finished runs are kept) and
writes `results.md` and `results.csv` beside this file.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from brainuad.reporting.tables import to_markdown

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
GROUPS = ("all", "tumour", "ms", "stroke", "bright", "iso", "dark")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "study" / "strega")
    parser.add_argument("--sequences", nargs="+", default=["T2w", "FLAIR", "T1w"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    arguments = parser.parse_args()
    rows = []
    for sequence in arguments.sequences:
        for seed in arguments.seeds:
            out = arguments.runs / f"{sequence}-{seed}"
            if not (out / "report.html").is_file():
                train(sequence, seed, out)
            rows += read(sequence, seed, out)
    table = pd.DataFrame(rows)
    table.to_csv(HERE / "results.csv", index=False)
    text = "# Results\n\nWritten by `study.py`; do not edit. Means over subjects"
    if len(arguments.seeds) > 1:
        text += f", then mean ± standard deviation over {len(arguments.seeds)} seeds"
    text += ". The controls learn nothing.\n"
    for sequence in arguments.sequences:
        text += f"\n## {sequence}\n\n{markdown(table[table.sequence == sequence])}"
    (HERE / "results.md").write_text(text)
    print(text)


def train(sequence: str, seed: int, out: Path) -> None:
    """One run of the shipped experiment; goes on where it was interrupted."""
    subprocess.run(
        [
            sys.executable,
            str(ROOT / "train.py"),
            "experiment=strega",
            f"data.sequence={sequence}",
            f"seed={seed}",
            f"paths.output_dir={out}",
            "ckpt=last",
        ],
        check=True,
        cwd=ROOT,
    )


def read(sequence: str, seed: int, out: Path) -> list[dict[str, object]]:
    """The means of a run's summary."""
    results = json.loads((out / "summary.json").read_text())["results"]
    wanted = {("none", "auprc"): "AP", ("healthy", "dice"): "Dice", ("oracle", "dice"): "⌈Dice⌉"}
    return [
        {
            "sequence": sequence,
            "seed": seed,
            "method": row["method"],
            "group": row["group"],
            "n": row["n"],
            "metric": wanted[row["threshold"], row["metric"]],
            "mean": row["mean"],
        }
        for row in results
        if (row["threshold"], row["metric"]) in wanted and row["group"] in GROUPS
    ]


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

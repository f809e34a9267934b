"""AutoPaint for a CPU on the embedded cohort, beside its controls and without parts of it.

    python -m experiments.autopaint_prototypes.study

trains the shipped preset for each sequence and seed, scores its model again with parts left out,
and writes `results.md` and `results.csv` beside this file. Finished runs are kept.
"""

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from brainuad.benchmark.groups import group_means, paired_tests, read_subjects, to_table
from brainuad.benchmark.runs import changed, embedded, train, variant
from brainuad.benchmark.tables import write_results
from brainuad.reporting.tables import to_markdown

HERE = Path(__file__).parent
VARIANTS: dict[str, dict[str, Any]] = {
    "candidates alone": {"regions": {"rounds": 0}},
    "nothing hidden": {"patterns": {"times": 0}},
}
"""Parts of the detection left out of a trained model."""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/study/autopaint_prototypes"))
    parser.add_argument("--sequences", nargs="+", default=["T2w", "FLAIR"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--ablation-seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--no-report", action="store_true", help="train only, for parallel calls")
    parser.add_argument("options", nargs="*", metavar="key=value", help="for train.py")
    arguments = parser.parse_args()
    tables, runs = [], []
    for sequence in arguments.sequences:
        for seed in arguments.seeds:
            out = arguments.runs / f"{sequence}-{seed}"
            train("autopaint_prototypes", out, sequence, seed, arguments.options)
            parts = [read_subjects(out)]
            for name, options in VARIANTS.items() if seed in arguments.ablation_seeds else ():
                load = partial(changed, options=options)
                scored = variant(out, name, embedded(out / "model.ckpt"), sequence, load)
                parts.append(read_subjects(scored, name))
            tables.append(pd.concat(parts).assign(sequence=sequence, seed=seed))
            runs.append(described(out, sequence, seed))
    if arguments.no_report:
        return
    table = pd.concat(tables)
    columns = ["sequence", "seed", "subject", "pathology", "contrast", "method", "metric", "value"]
    write_results(HERE / "results.csv", table[columns])
    text = report(table, runs)
    (HERE / "results.md").write_text(text)
    print(text)


def described(out: Path, sequence: str, seed: int) -> list[str]:
    """A run's seconds, its cost, and what repainting leaves of healthy brains."""
    provenance = json.loads((out / "provenance.json").read_text())
    found = json.loads((out / "checks.json").read_text())
    shares = [found[f"healthy_region_{when}"] for when in ("before", "after")]
    return [
        sequence,
        str(seed),
        f"{provenance['fit_s']:.0f}",
        f"{provenance['wall_time_per_volume_s']:.1f}",
        f"{found['images_a_slice']:.1f}",
        *(f"{share:.2%}" for share in shares),
    ]


def report(table: pd.DataFrame, runs: list[list[str]]) -> str:
    """Tables by sequence and group, paired tests, and the runs."""
    text = "# Results\n\nWritten by `study.py`; do not edit. Means over subjects, then mean ± "
    text += "standard deviation over seeds.\n"
    for sequence, part in table.groupby("sequence", sort=False):
        means = [group_means(p).assign(seed=seed) for seed, p in part.groupby("seed")]
        text += f"\n## {sequence}\n\n{to_table(pd.concat(means))}\n"
        text += paired_tests(part, "autopaint_prototypes", ("intensity", *VARIANTS))
    text += "\n## Runs\n\nSeconds of training (with its first stage where that was not there yet) "
    text += "and of a volume's detection; images through the network a slice; share of healthy "
    text += "validation brains that is a candidate, and that is left after repainting.\n\n"
    header = ["sequence", "seed", "training, s", "volume, s", "images a slice"]
    return text + to_markdown([*header, "candidates", "left"], runs)


if __name__ == "__main__":
    main()

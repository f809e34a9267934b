"""Measure what a method gains by scores relative to healthy brains at the same place.

    python -m experiments.relative.study --cohorts embedded --sequences T2w

scores the methods of `settings.yaml` with and without `relative=healthy`, with the models of
`python -m experiments.benchmark` if they are trained already, and writes `results.md`. Finished
runs are kept; `--tables-only` runs nothing.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from brainuad.benchmark.command import Study
from brainuad.benchmark.command import main as benchmark
from brainuad.benchmark.plan import make_plan, read_settings
from brainuad.benchmark.scores import TESTED, read_runs
from brainuad.machine.files import write_text
from brainuad.metrics.statistics import bootstrap_interval, holm, paired_wilcoxon
from brainuad.reporting.tables import to_markdown

HERE = Path(__file__).parent
STUDY = Study("python -m experiments.relative.study", HERE / "settings.yaml", Path("runs/relative"))
SUFFIX = "_relative"
HEADER = """# Scores relative to healthy brains

Written by `python -m experiments.relative.study`; do not edit. Means over the subjects with a
lesion and their paired difference [95 % bootstrap interval over subjects]; p of the two-sided
Wilcoxon signed-rank test, Holm-corrected over the table. Dice is at the healthy threshold. One
post-processing for all (`postprocess=default`).
"""
PLAIN = """## What a method gains

Its map as it is, and divided by its mean over healthy training brains at the same place.
"""
BEYOND = """## What a method adds to brightness

Relative brightness, `intensity_relative`, which has learned a mean, and the relative map.
"""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cohorts", nargs="+", default=[])
    parser.add_argument("--sequences", nargs="+", default=[])
    parser.add_argument("--methods", nargs="+", default=[])
    parser.add_argument("--tables-only", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    chosen = {name: getattr(arguments, name) for name in ("cohorts", "sequences", "methods")}
    if not arguments.tables_only:
        words: list[str] = []
        for name, values in chosen.items():
            words += [f"--{name}", *values] if values else []
        benchmark(words, STUDY)
    plan = make_plan(read_settings(HERE / "settings.yaml"), "small", **chosen, only_read=True)
    table = read_runs(plan.runs).table
    parts = [HEADER, PLAIN, to_markdown(*gains(table)), BEYOND]
    parts.append(to_markdown(*gains(table, "intensity" + SUFFIX)))
    write_text(HERE / "results.md", "\n".join(parts))
    print(f"wrote {HERE / 'results.md'}")


def gains(table: pd.DataFrame, other: str | None = None) -> tuple[list[str], list[list[str]]]:
    """Return header and cells: one row per cohort, sequence and method that was scored as both.

    Args:
        table: scores from `read_runs`.
        other: method that the relative ones are compared with; None for each one's plain scores.
    """
    keys, cells, ps = [], [], []
    for (cohort, sequence), part in table.groupby(["cohort", "sequence"], sort=False):
        scores = part.groupby(["method", "subject"]).first()
        names = dict.fromkeys(part.method)
        for relative in (name for name in names if name.endswith(SUFFIX)):
            before = other or relative.removesuffix(SUFFIX)
            if before not in names or before == relative:
                continue
            keys.append([cohort, sequence, relative.removesuffix(SUFFIX)])
            row = []
            for metric in TESTED:
                both = (scores.loc[name][metric] for name in (before, relative))
                first, second = pd.concat(both, axis=1, join="inner").to_numpy(float).T
                low, high = bootstrap_interval(second - first)
                ps.append(paired_wilcoxon(second, first))
                difference = f"{np.mean(second - first):+.3f} [{low:+.3f}, {high:+.3f}]"
                row.append((f"{first.mean():.3f}", f"{second.mean():.3f}", difference))
            cells.append(row)
    adjusted = iter(holm(ps))
    rows = [
        key + [word for three in row for word in (*three, f"{next(adjusted):.2g}")]
        for key, row in zip(keys, cells, strict=True)
    ]
    header = ["cohort", "sequence", "method"]
    for metric in TESTED:
        header += [f"{metric}, {other or 'as it is'}", f"{metric}, relative", "difference", "p"]
    return header, rows


if __name__ == "__main__":
    main()

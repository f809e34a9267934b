"""Compare training on lesions weighed by their expected anomaly posterior with equal weights.

    python -m experiments.eap.study --runs runs/real

reads the runs of `fpi` and `fpi_eap` of `python -m experiments.real soop --seeds 0 1 2`. Only seeds
that both have count.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

from brainuad.benchmark.plan import Run, make_plan, read_settings
from brainuad.benchmark.scores import read_runs, results
from brainuad.benchmark.tables import write_results
from brainuad.machine.files import write_text
from brainuad.reporting.tables import to_markdown

HERE = Path(__file__).parent
SETTINGS = HERE.parent / "real" / "settings.yaml"
EQUAL, WEIGHED = "fpi", "fpi_eap"
SEEDS = (0, 1, 2)

INTRODUCTION = """# Results

Written by `python -m experiments.eap.study`; do not edit. Mean over people, each the mean of the \
seeds {seeds} [95 % bootstrap interval]; ± is the standard deviation over seeds. The difference is \
to equal weights, paired, by Wilcoxon's signed-rank test over people.

"""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/real"), help="folder of the runs")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the tables")
    arguments = parser.parse_args()
    plan = make_plan(
        read_settings(SETTINGS),
        "small",
        cohorts=["soop"],
        methods=[EQUAL, WEIGHED],
        seeds=SEEDS,
        folder=arguments.runs,
        only_read=True,
    )
    runs = finished_in_both(plan.runs)
    if not runs:
        sys.exit(f"{arguments.runs}: no seed of {EQUAL} and {WEIGHED} is finished")
    table = results(read_runs(runs), EQUAL)
    write_results(arguments.out / "results.csv", table)
    seeds = sorted({run.seed for run in runs})
    text = INTRODUCTION.format(seeds=", ".join(map(str, seeds))) + scores(table)
    write_text(arguments.out / "results.md", text)


def finished_in_both(runs: tuple[Run, ...]) -> list[Run]:
    """Return the finished runs of the seeds that both methods have."""
    done = [run for run in runs if run.is_finished]
    seeds = [{run.seed for run in done if run.method == method} for method in (EQUAL, WEIGHED)]
    return [run for run in done if run.seed in seeds[0] & seeds[1]]


def scores(table: pd.DataFrame) -> str:
    """Return the scores of both by group of strokes."""
    rows = []
    for (group, metric), part in table.groupby(["group", "metric"], sort=False):
        if metric not in ("AP", "Dice"):
            continue
        both = part.set_index("method")
        if WEIGHED not in both.index:
            continue
        weighed = both.loc[WEIGHED]
        test = [f"{weighed.difference:+.3f}", f"{weighed.p:.2g}", weighed.verdict]
        rows.append([group, metric, str(int(weighed.n)), *map(_mean, (both.loc[EQUAL], weighed))])
        rows[-1] += test
    header = ["strokes", "by", "people", "equal weights", "EAP", "difference", "p", "verdict"]
    return to_markdown(header, rows) + "\n"


def _mean(row: pd.Series) -> str:
    return f"{row['mean']:.3f} ± {row.seeds_sd:.3f} [{row.low:.3f}, {row.high:.3f}]"


if __name__ == "__main__":
    main()

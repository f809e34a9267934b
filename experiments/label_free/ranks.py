"""Rank correlation of a label-free objective with labelled metrics, and how sure it is."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from brainuad.reporting.drawing.curves import method_style
from brainuad.reporting.tables import to_markdown

FEWEST = 4
"""Smallest number of checkpoints for a rank correlation."""

RESAMPLES = 1000


class Correlation(NamedTuple):
    """Rank correlation of two quantities over checkpoints.

    Attributes:
        n: checkpoints.
        runs: that they are of.
        spearman: rank correlation.
        spearman_ci: 95 % bootstrap interval; NaN where nearly no resample has two values.
        kendall: tau-b.
        kendall_ci: likewise.
        chosen: the metric of the checkpoint with the highest objective.
        best: the highest metric of any.
        mean: of all: what choosing by chance gets.
    """

    n: int
    runs: int
    spearman: float
    spearman_ci: tuple[float, float]
    kendall: float
    kendall_ci: tuple[float, float]
    chosen: float
    best: float
    mean: float


def correlate(
    objective: np.ndarray, metric: np.ndarray, runs: Sequence[str], seed: int = 0
) -> Correlation:
    """Spearman and Kendall rank correlation with bootstrap intervals.

    Checkpoints of one run are not independent, so whole runs are drawn where there are four or
    more of them, and checkpoints otherwise: that interval is of these runs alone.

    Args:
        objective: `(N,)`, needs no label.
        metric: `(N,)`, needs labels.
        runs: `(N,)`, each checkpoint's.
        seed: of the bootstrap.
    """
    names = np.asarray(runs)
    clusters = [np.flatnonzero(names == name) for name in dict.fromkeys(runs)]
    number = len(clusters)
    if number < FEWEST:
        clusters = [np.array([index]) for index in range(len(objective))]
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(RESAMPLES):
        picked = rng.integers(len(clusters), size=len(clusters))
        index = np.concatenate([clusters[i] for i in picked])
        x, y = objective[index], metric[index]
        if np.ptp(x) > 0 and np.ptp(y) > 0:
            drawn.append((stats.spearmanr(x, y).statistic, stats.kendalltau(x, y).statistic))
    ends = np.full((2, 2), np.nan)
    if len(drawn) > RESAMPLES / 2:
        ends = np.quantile(np.array(drawn), [0.025, 0.975], axis=0)
    defined = np.ptp(objective) > 0 and np.ptp(metric) > 0
    return Correlation(
        n=len(objective),
        runs=number,
        spearman=float(stats.spearmanr(objective, metric).statistic) if defined else np.nan,
        spearman_ci=(float(ends[0, 0]), float(ends[1, 0])),
        kendall=float(stats.kendalltau(objective, metric).statistic) if defined else np.nan,
        kendall_ci=(float(ends[0, 1]), float(ends[1, 1])),
        chosen=float(metric[objective.argmax()]),
        best=float(metric.max()),
        mean=float(metric.mean()),
    )


def groups(table: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Sequence, name and rows: each method alone, then all of them where there are several."""
    for sequence, part in table.groupby("sequence", sort=False):
        for method, own in part.groupby("method", sort=False):
            yield str(sequence), str(method), own
        if part.method.nunique() > 1:
            yield str(sequence), "all methods", part


def report(table: pd.DataFrame, objectives: Sequence[str], metrics: Sequence[str]) -> str:
    """The tables, as Markdown.

    Args:
        table: a row a checkpoint: `run`, `method`, `sequence`, `checkpoint`, objectives, metrics.
        objectives: columns that need no label.
        metrics: columns that do.
    """
    text = "# Results\n\nWritten by `study.py`; do not edit. Rank correlation of the label-free "
    text += "objective with a labelled metric over checkpoints, 95 % bootstrap interval in "
    text += (
        f"brackets (over runs where there are {FEWEST} or more, else over checkpoints). Chosen: "
    )
    text += "the metric of the checkpoint that the objective prefers; best: of the best one; mean: "
    text += "of all, what chance gets.\n"
    for metric in metrics:
        rows = []
        for sequence, name, part in groups(table):
            for objective in objectives:
                about = [sequence, name, objective]
                if len(part) < FEWEST:
                    rows.append([*about, str(len(part)), *["too few"] * 2, *["–"] * 3])
                    continue
                values = part[objective].to_numpy(float), part[metric].to_numpy(float)
                found = correlate(*values, list(part.run))
                rows.append(
                    [
                        *about,
                        f"{found.n} of {found.runs} runs",
                        _said(found.spearman, found.spearman_ci),
                        _said(found.kendall, found.kendall_ci),
                        *(f"{value:.3f}" for value in (found.chosen, found.best, found.mean)),
                    ]
                )
        header = ["sequence", "method", "objective", "checkpoints", "Spearman", "Kendall"]
        text += f"\n## {metric} on test lesions\n\n"
        text += to_markdown([*header, "chosen", "best", "mean"], rows)
    columns = ["run", "method", "sequence", "checkpoint", *objectives, *metrics]
    cells = [
        [f"{v:.4f}" if isinstance(v, float) else str(v) for v in row]
        for row in table[columns].itertuples(index=False)
    ]
    return text + "\n## Checkpoints\n\n" + to_markdown(columns, cells)


def draw_scatter(
    table: pd.DataFrame, objectives: Sequence[str], metrics: Sequence[str], path: Path
) -> None:
    """A panel an objective and metric, a dot a checkpoint: colours methods, shapes sequences."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shape = len(objectives), len(metrics)
    figure = Figure(figsize=(3.6 * shape[1], 3.2 * shape[0] + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(*shape, squeeze=False)
    methods, sequences = (list(dict.fromkeys(table[key])) for key in ("method", "sequence"))
    for (row, column), axes in np.ndenumerate(panels):
        for (method, sequence), part in table.groupby(["method", "sequence"], sort=False):
            axes.scatter(
                part[objectives[row]],
                part[metrics[column]],
                s=26,
                color=method_style(methods.index(method)).color,
                marker="osD^v"[sequences.index(sequence) % 5],
                alpha=0.8,
                label=f"{method}, {sequence}",
            )
        axes.set(xlabel=f"AP, {objectives[row]}", ylabel=f"{metrics[column]}, test lesions")
        axes.grid(alpha=0.2)
    handles, names = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(path, dpi=110)


def _said(value: float, interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"

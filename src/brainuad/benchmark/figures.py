"""Figures of a benchmark. The same runs give the same bytes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from PIL.Image import Image

from brainuad.benchmark import difficulty
from brainuad.benchmark.cases import page, strips
from brainuad.benchmark.scores import GAP, ORACLE, POOLED, Found, Scored
from brainuad.cohorts.manifest import Scan
from brainuad.errors import InputError
from brainuad.machine.files import atomic_path
from brainuad.machine.text import say
from brainuad.reporting.run_folder import read_run

COLOURS = (
    *("#8a8f98", "#e0701a", "#3b8bd0", "#2a9d8f", "#b565c0", "#a08020", "#c23b4e"),
    *("#4f6d2f", "#7a5cff", "#0f4c81", "#d98fb0", "#5b3a1e", "#00a5c8"),
)
LINES = ("-", "--", "-.", ":")
BINS = 4
"""Number of groups of lesions by volume, with the same number of subjects each."""

FEW = 2 * BINS
"""Number of subjects below which each is a dot of its own."""


def write_figures(found: Found, table: pd.DataFrame, settings: dict[str, Any], out: Path) -> None:
    """Write the figures of each cohort: `_size`, `_curves`, `_gap`, and `_difficulty` if measured.

    Each method gets a page of its best, median and worst case in its run folder. The median cases
    of all methods are `_cases` among the figures, for cohorts that are not `real` and have models
    of their own: pictures of real scans stay with the data.

    Args:
        found: scores from `scores.read_runs`.
        table: statistics from `scores.results`.
        settings: settings of the benchmark.
        out: folder of the figures.
    """
    styles = {name: _style(i) for i, name in enumerate(settings["methods"])}
    for cohort in dict.fromkeys(scored.run.cohort for scored in found.runs):
        own = [scored for scored in found.runs if scored.run.cohort == cohort]
        sequences = list(dict.fromkeys(scored.run.sequence for scored in own))
        part = found.table[(found.table.cohort == cohort) & (found.table.method != ORACLE)]
        _save(_by_size(part, sequences, styles), out / f"{cohort}_size.png")
        _save(_curves(own, sequences, styles), out / f"{cohort}_curves.png")
        rows = table[(table.cohort == cohort) & (table.group == "all") & (table.metric == GAP)]
        rows = rows[(rows.method != ORACLE) & (rows.sequence != POOLED)]
        _save(_gaps(rows, sequences, styles), out / f"{cohort}_gap.png")
        if (grid := difficulty.figure(own, sequences)) is not None:
            _save(grid, out / f"{cohort}_difficulty.png")
        medians = [_cases(scored, part) for scored in _first_seeds(own, sequences[0])]
        shown = [strip for strip in medians if strip is not None]
        facts = settings["cohorts"][cohort]
        if shown and not facts.get("real") and not facts.get("models_of"):
            title = f"The median case of each method, {cohort}, {sequences[0]}"
            _write(page(title, shown, columns=2), out / f"{cohort}_cases.jpg")


def _by_size(part: pd.DataFrame, sequences: Sequence[str], styles: dict[str, Any]) -> Figure:
    """Draw the mean Dice of groups of subjects by the volume of their lesions."""
    figure, panels = _panels(sequences, "lesion volume, ml", "Dice, healthy threshold")
    for axes, sequence in zip(panels, sequences, strict=True):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        own = part[part.sequence == sequence]
        for method in _in_order(own.method, styles):
            here = own[own.method == method]
            values = here.groupby("subject", sort=True)[["volume_ml", "Dice"]].mean()
            values = values.sort_values("volume_ml", kind="stable").to_numpy()
            style = styles[method]
            if len(values) < FEW:
                axes.plot(*values.T, "o", markersize=5, label=method, color=style["color"])
                continue
            groups = np.array_split(values, BINS)
            middle = [np.exp(np.log(group[:, 0]).mean()) for group in groups]
            means = [group[:, 1].mean() for group in groups]
            axes.plot(middle, means, marker="o", markersize=4, label=method, **style)
        axes.set_ylim(-0.02, 1.02)
    return _with_legend(figure, panels)


def _curves(runs: Sequence[Scored], sequences: Sequence[str], styles: dict[str, Any]) -> Figure:
    """Draw precision against recall over all voxels, first seed; dots: healthy threshold."""
    figure, panels = _panels(sequences, "recall", "precision, all brain voxels")
    for axes, sequence in zip(panels, sequences, strict=True):
        for scored in _first_seeds(runs, sequence):
            method = scored.run.method
            for curve in read_run(scored.folder).curves():
                if curve.method != method:
                    continue
                style = styles[method]
                axes.plot(curve.recall, curve.precision, label=method, **style)
                if curve.operating is not None:
                    axes.plot(*curve.operating, "o", markersize=6, color=style["color"])
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
    return _with_legend(figure, panels)


def _gaps(rows: pd.DataFrame, sequences: Sequence[str], styles: dict[str, Any]) -> Figure:
    """Draw one bar per method, with the interval over subjects."""
    figure, panels = _panels(sequences, "⌈Dice⌉ less Dice, healthy threshold", "")
    for axes, sequence in zip(panels, sequences, strict=True):
        own = rows[rows.sequence == sequence].set_index("method")
        methods = _in_order(own.index, styles)[::-1]
        means = own["mean"].reindex(methods).to_numpy(float)
        ends = own[["low", "high"]].reindex(methods).to_numpy(float).T
        errors = np.abs(ends - means)
        colours = [styles[method]["color"] for method in methods]
        axes.barh(range(len(methods)), means, xerr=errors, color=colours, ecolor="#444444")
        axes.set_yticks(range(len(methods)), methods, fontsize=8)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.grid(axis="x", alpha=0.2)
    ends = [end for axes in panels for end in axes.get_xlim()]
    for axes in panels:
        axes.set_xlim(min(ends), max(ends))
    # Room for the methods' names, in inches.
    figure.subplots_adjust(left=1.1 / figure.get_figwidth(), wspace=0.45)
    return figure


def _cases(scored: Scored, part: pd.DataFrame) -> Image | None:
    """Write the best, the median and the worst subject by Dice; return the median's strip."""
    run = scored.run
    cohort = read_run(scored.folder).cohort
    own = part[(part.method == run.method) & (part.sequence == run.sequence)]
    own = own[(own.seed == run.seed) & own.Dice.notna()]
    if cohort is None or own.empty:
        return None
    own = own.sort_values(["Dice", "subject"], ascending=False).reset_index(drop=True)
    scans: dict[str, Scan] = {s.subject: s for s in cohort.scans if s.sequence == run.sequence}
    chosen = {"best": 0, "median": len(own) // 2, "worst": len(own) - 1}
    shown = []
    for word, place in chosen.items():
        row = own.iloc[place]
        text = f"{run.method}, {word} of {len(own)}: {row.subject}, Dice {row.Dice:.3f}, "
        text += f"AP {row.AP:.3f}, {row.volume_ml:.1f} ml, contrast {row.contrast:+.1f}"
        shown.append((text, scans[row.subject]))
    threshold = read_run(scored.folder).summary.thresholds.get(run.method)
    title = f"{run.method}, {run.cohort}, {run.sequence}, seed {run.seed}"
    try:
        drawn = strips(shown, scored.folder / "prepared", threshold)
    except InputError as error:
        say(f"no page of cases of {run.name}: {error}")
        return None
    _write(page(title, drawn), scored.folder / "cases.jpg")
    return drawn[1]


def _first_seeds(runs: Sequence[Scored], sequence: str) -> list[Scored]:
    """Return the first run of each method, in the plan's order."""
    first: dict[str, Scored] = {}
    for scored in runs:
        if scored.run.sequence == sequence:
            first.setdefault(scored.run.method, scored)
    return list(first.values())


def _in_order(names: Any, styles: dict[str, Any]) -> list[str]:
    return [name for name in styles if name in set(names)]


def _style(index: int) -> dict[str, Any]:
    # The first round of colours alternates two line styles; each further round has its own.
    turn = index // len(COLOURS)
    line = LINES[1 + turn if turn else index % 2]
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": line, "linewidth": 1.6}


def _panels(titles: Sequence[str], across: str, up: str) -> tuple[Figure, list[Axes]]:
    """Return one panel per sequence, side by side."""
    figure = Figure(figsize=(1.2 + 3.7 * len(titles), 3.9))
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(1, len(titles), squeeze=False)[0])
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title, fontsize=10)
        axes.set_xlabel(across, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    panels[0].set_ylabel(up, fontsize=9)
    figure.subplots_adjust(left=0.7 / figure.get_figwidth(), right=0.98, bottom=0.2, top=0.91)
    return figure, panels


def _with_legend(figure: Figure, panels: Sequence[Axes]) -> Figure:
    """Add one legend for all panels, below them."""
    entries: dict[str, Any] = {}
    for axes in panels:
        axes.grid(alpha=0.15)
        handles, labels = axes.get_legend_handles_labels()
        entries |= dict(zip(map(str, labels), handles, strict=True))
    columns = max(2, 3 * len(panels))
    rows = -(-len(entries) // columns)
    low = 0.2 + 0.055 * rows
    figure.subplots_adjust(bottom=low)
    figure.legend(
        list(entries.values()),
        list(entries),
        loc="lower center",
        ncols=columns,
        frameon=False,
        fontsize=8,
    )
    return figure


def _write(picture: bytes, path: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(picture)


def _save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})

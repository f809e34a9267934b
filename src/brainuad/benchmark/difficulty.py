"""AP of synthetic lesions by size, contrast and place: measurement and figure."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from brainuad.benchmark.plan import Run
from brainuad.benchmark.scores import Scored
from brainuad.errors import InputError
from brainuad.label_free.difficulty import CELLS, measure_difficulty
from brainuad.machine.failures import Failures
from brainuad.machine.text import one_line, say

TABLE = "difficulty.csv"
CELL = ["place", "radius_mm", "contrast"]
ORDER = pd.MultiIndex.from_tuples(
    sorted((cell.place, cell.radius_mm, cell.contrast) for cell in CELLS), names=CELL
)


def measure(runs: Sequence[Run]) -> Failures:
    """Measure every finished run that has a model of its own, once.

    Only the first seed of each method is measured. All methods get the same lesions.

    Returns:
        The runs and subjects that failed.
    """
    failures = Failures()
    first: dict[tuple[str, str, str], Run] = {}
    for run in runs:
        if run.is_finished and run.model_of is None:
            first.setdefault((run.cohort, run.sequence, run.method), run)
    for run in first.values():
        folder = run.out
        if (folder / TABLE).is_file():
            continue
        say(f"difficulty: {run.name}", flush=True)
        try:
            _, bad = measure_difficulty(folder)
        except InputError as error:
            failures.append((run.name, one_line(error)))
            continue
        failures += [(f"{run.name}, {subject}", reason) for subject, reason in bad]
    return failures


def joined(runs: Sequence[Scored]) -> pd.DataFrame:
    """Return the measured tables of the runs as one, with one row per lesion and run."""
    parts = []
    for scored in runs:
        path = scored.folder / TABLE
        if path.is_file():
            run, part = scored.run, pd.read_csv(path)
            for place, key in enumerate(("cohort", "sequence", "method", "seed")):
                part = part.drop(columns=key, errors="ignore")
                part.insert(place, key, getattr(run, key))
            parts.append(part)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def figure(runs: Sequence[Scored], sequences: Sequence[str]) -> Figure | None:
    """Draw the mean AP of each cell, one panel per sequence; None if nothing was measured."""
    table = joined(runs)
    if table.empty:
        return None
    tables = {
        sequence: {
            method: part.groupby(CELL).ap.mean().reindex(ORDER)
            for method, part in own.groupby("method", sort=False)
        }
        for sequence, own in table.groupby("sequence", sort=False)
    }
    shown = [sequence for sequence in sequences if sequence in tables]
    heights = [0.24 * len(tables[sequence]) for sequence in shown]
    # Space above and below the cells of a panel, in inches.
    above, below = 0.62, 0.52
    total = sum(heights) + len(shown) * (above + below)
    drawn = Figure(figsize=(12.5, total))
    FigureCanvasAgg(drawn)
    top = total
    for sequence, height in zip(shown, heights, strict=True):
        top -= above + height
        axes = drawn.add_axes((0.09, top / total, 0.9, height / total))
        _panel(axes, tables[sequence], f"{sequence}: AP of painted lesions")
        top -= below
    return drawn


def _panel(axes: Axes, tables: dict[str, pd.Series], title: str) -> None:
    values = np.stack([table.to_numpy(float) for table in tables.values()])
    axes.imshow(
        np.ma.masked_invalid(values), cmap=colormaps["cividis"], vmin=0, vmax=1, aspect="auto"
    )
    for (row, column), share in np.ndenumerate(values):
        text = f"{share:.2f}"[1:] if share < 1 else "1.0"
        colour = "#ffffff" if share < 0.5 else "#000000"
        axes.text(column, row, text, color=colour, ha="center", va="center", fontsize=7)
    axes.set_yticks(range(len(tables)), list(tables), fontsize=8)
    contrasts = [f"{contrast:+g}".replace("-", "−") for *_, contrast in ORDER]
    axes.set_xticks(range(len(ORDER)), contrasts, fontsize=7)
    axes.set_xlabel("contrast (share of the brain's range of intensities)", fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    groups: dict[tuple[str, float], list[int]] = {}
    for column, (place, radius, _) in enumerate(ORDER):
        groups.setdefault((place, radius), []).append(column)
    for (place, radius), columns in groups.items():
        axes.text(
            float(np.mean(columns)),
            -0.75,
            f"{place}, {radius:g} mm",
            ha="center",
            va="bottom",
            fontsize=8,
        )
        if columns[0]:
            axes.axvline(columns[0] - 0.5, color="white", linewidth=3)
    axes.set_title(title, fontsize=10, pad=18, loc="left")

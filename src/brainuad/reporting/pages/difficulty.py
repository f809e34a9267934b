"""Part of the report on painted lesions of known size, contrast and place."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from brainuad.errors import InputError
from brainuad.reporting.drawing.curves import INK, to_svg
from brainuad.reporting.pages.render import Plot
from brainuad.reporting.run_folder import RunFolder

METRICS = {"ap": "AP", "recall": "recall at the healthy threshold"}


@dataclass(frozen=True)
class Difficulty:
    """Scores on painted lesions.

    Attributes:
        lesions: number of lesions.
        brains: number of healthy brains that they were painted into.
        per_cell: lesions per place, radius and contrast, as text.
        plots: a table of colours per score and place.
    """

    lesions: int
    brains: int
    per_cell: str
    plots: list[Plot]


def difficulty(run: RunFolder) -> Difficulty | None:
    """Return the part; None for a run without `difficulty.csv`.

    Raises:
        InputError: the file is damaged.
    """
    path = run.path / "difficulty.csv"
    if not path.is_file():
        return None
    try:
        table = pd.read_csv(path)
        cells = table.groupby(["place", "radius_mm", "contrast"])[list(METRICS)].mean()
    except (ValueError, KeyError) as error:
        raise InputError(f"{path}: not readable ({error}); measure it again") from None
    many = table.groupby(["place", "radius_mm", "contrast"]).size()
    spread = f"{many.min()}" if many.min() == many.max() else f"{many.min()} to {many.max()}"
    plots = [
        Plot(heat_map(cells.loc[place, metric].unstack("contrast"), title), title)
        for metric in METRICS
        if cells[metric].notna().any()
        for place in cells.index.unique("place")
        for title in [f"{METRICS[metric]}, {place}"]
    ]
    return Difficulty(len(table), table.subject.nunique(), spread, plots)


def heat_map(values: pd.DataFrame, title: str) -> str:
    """Return the SVG of a table of shares in [0, 1], as coloured cells with their numbers.

    Args:
        values: radii in mm (rows) against contrasts (columns).
        title: title, for readers who cannot see it.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 2.9))
    axes = figure.add_axes((0.14, 0.2, 0.84, 0.76))
    axes.patch.set_alpha(0)
    shares = values.to_numpy(float)
    colours = colormaps["cividis"]
    axes.imshow(np.ma.masked_invalid(shares), cmap=colours, vmin=0, vmax=1, aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        known = math.isfinite(share)
        colour = ("#ffffff" if share < 0.5 else "#000000") if known else INK
        style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 11}
        axes.text(column, row, f"{share:.2f}" if known else "–", color=colour, **style)
    axes.set_xticks(range(shares.shape[1]), [f"{v:+g}".replace("-", "−") for v in values.columns])
    axes.set_yticks(range(shares.shape[0]), [f"{value:g}" for value in values.index])
    axes.set(xlabel="contrast (darker to brighter)", ylabel="radius, mm")
    axes.spines[:].set_visible(False)
    axes.tick_params(colors=INK, labelsize=10, length=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set(color=INK, fontsize=10.5)
    rows = zip(values.index, shares, strict=True)
    words = "; ".join(f"{name:g} mm: " + ", ".join(f"{v:.2f}" for v in row) for name, row in rows)
    return to_svg(figure, f"{title}, by radius and contrast. {words}")

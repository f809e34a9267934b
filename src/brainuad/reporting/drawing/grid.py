"""Slices in rows and columns, as studies show them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from brainuad.reporting.drawing.panels import Sheet, outline, show

BRIGHTEST = 99.7
"""Percentile of the tissue that is white where a panel does not say it."""

_GAP, _LINE = 4, 13


class Panel(NamedTuple):
    """A slice of a scan or a map.

    Attributes:
        plane: `(width, height)`: left of the picture first, bottom first.
        title: text above it, of any number of lines.
        low: value that is black.
        top: value that is white; None for `BRIGHTEST`.
        colours: colour map of matplotlib.
        outlines: masks of this size, and the colour of each.
        heat: scores of this size, shown over the plane; None for none.
    """

    plane: np.ndarray
    title: str = ""
    low: float = 0.0
    top: float | None = None
    colours: str = "gray"
    outlines: Sequence[tuple[np.ndarray, str]] = ()
    heat: np.ndarray | None = None


def draw_grid(
    rows: Sequence[Sequence[Panel]], width: float = 170, scale: float = 1.3, **text: Any
) -> Sheet:
    """Return a sheet with a row of panels per sequence.

    Args:
        rows: panels, from the upper left.
        width: width of a panel on the page, in pixels.
        scale: pixels of the file per pixel on the page.
        text: style of the titles, as `Sheet.text` takes it.
    """
    heights = [width * max(p.plane.shape[1] / p.plane.shape[0] for p in row) for row in rows]
    titles = [_LINE * max(len(panel.title.splitlines()) for panel in row) + _GAP for row in rows]
    columns = max(len(row) for row in rows)
    total = sum(heights) + sum(titles) + _GAP * (len(rows) - 1)
    sheet = Sheet(columns * (width + _GAP) - _GAP, total, scale)
    y = 0.0
    for row, height, above in zip(rows, heights, titles, strict=True):
        for column, panel in enumerate(row):
            x = column * (width + _GAP)
            if panel.title:
                sheet.text(x + width / 2, y + above / 2, panel.title, **{"size": 7, **text})
            _draw(sheet.panel(x, y + above, width, height), panel)
        y += above + height + _GAP
    return sheet


def _draw(axes: Any, panel: Panel) -> None:
    plane, size = panel.plane, (float(panel.plane.shape[0]), float(panel.plane.shape[1]))
    top = panel.top
    if top is None:
        tissue = plane[plane > 0]
        top = float(np.percentile(tissue, BRIGHTEST)) if tissue.size else 1.0
    show(axes, plane.T, size, cmap=panel.colours, vmin=panel.low, vmax=top)
    if panel.heat is not None:
        heat = panel.heat.T
        strength = np.clip(heat / max(float(heat.max()), 1e-12), 0, 1)
        show(axes, heat, size, cmap="inferno", alpha=strength)
    for mask, colour in panel.outlines:
        outline(axes, mask.T, size, colour)

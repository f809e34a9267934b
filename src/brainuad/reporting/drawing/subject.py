"""One picture a subject: three planes by scan, truth, reconstruction, anomaly map and mask."""

import io
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from brainuad.reporting.drawing.views import TITLES, PlaneView, Slices, SubjectView

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOUND, FALSE_ALARM, MISSED = "#f0e442", "#d55e00", "#56b4e9"  # Okabe and Ito, colour-blind safe
_OUTLINE = "#ff2d95"  # seen on black and on white
MAX_BYTES = 150_000
_SCALE = 1.3  # pixels of the file per pixel on the page: sharp on dense screens, still small
_PANEL, _GAP, _ROW_GAP, _LEFT, _TOP, _BOTTOM = 200, 5, 10, 34, 30, 50
_LABEL = 70  # what "x = −12 mm" takes beside a slab of a few slices


class Picture(NamedTuple):
    """A JPEG and its size on the page in pixels."""

    jpeg: bytes
    width: int
    height: int


def draw_subject(view: SubjectView, limit: float, threshold: float | None = None) -> Picture:
    """The picture of a subject as JPEG, dark in both themes as image viewers are.

    Args:
        view: from `load_view`.
        limit: top of the anomaly scale, from `shared_limit`.
        threshold: marked on the colour bar.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    columns = [key for key in TITLES if key in view.planes[0].slices]
    # One scale for all panels, so that the planes of a brain agree in size.
    mm = _PANEL / max(plane.size_mm[0] for plane in view.planes)
    heights = [plane.size_mm[1] * mm for plane in view.planes]
    width = _LEFT + len(columns) * (_PANEL + _GAP)
    rows = [max(tall, _LABEL) for tall in heights]
    height = _TOP + sum(rows) + _ROW_GAP * len(rows) + _BOTTOM
    figure = Figure(figsize=(width / 100, height / 100), dpi=100 * _SCALE, facecolor="black")
    canvas = FigureCanvasAgg(figure)
    left, top = _LEFT, _TOP
    for column, key in enumerate(columns):
        x = left + column * (_PANEL + _GAP) + _PANEL / 2
        _text(figure, x / width, 1 - 11 / height, TITLES[key], size=9)
    y = height - top
    for plane, tall, row in zip(view.planes, heights, rows, strict=True):
        y -= row
        label = f"{plane.name}\n{plane.position}".strip()
        _text(figure, 14 / width, (y + row / 2) / height, label, size=7.5, rotation=90)
        for column, key in enumerate(columns):
            x = left + column * (_PANEL + _GAP)
            rect = (x / width, (y + (row - tall) / 2) / height, _PANEL / width, tall / height)
            _panel(figure, rect, plane, key, view, limit, first=column == 0)
        y -= _ROW_GAP
    _colour_bar(figure, columns, limit, threshold, (width, height))
    _legend(figure, columns, view, (width, height))
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    for quality in (85, 70, 50, 20):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= MAX_BYTES:
            break
    return Picture(buffer.getvalue(), round(width), round(height))


def _panel(
    figure: "Figure",
    rect: tuple[float, float, float, float],
    plane: PlaneView,
    key: str,
    view: SubjectView,
    limit: float,
    first: bool,
) -> None:
    axes = figure.add_axes(rect)
    axes.set_axis_off()
    width, height = plane.size_mm
    grey: dict[str, Any] = {
        "cmap": "gray",
        "vmin": 0,
        "vmax": view.window,
        "extent": (0, width, 0, height),
    }
    extent: dict[str, Any] = {"extent": (0, width, 0, height), "origin": "lower"}
    if key == "anomaly":
        axes.imshow(plane.slices[key], cmap="inferno", vmin=0, vmax=limit, **extent)
    elif key == "segmentation":
        # Dimmed, so that the colours carry the message.
        axes.imshow(plane.slices["image"] * 0.6, **grey, origin="lower")
        axes.imshow(
            _agreement(plane.slices, view.lesion_ml is not None), **extent, interpolation="nearest"
        )
    else:
        shown = "image" if key == "truth" else key
        if key in ("seen", "reconstruction") and "seen" in plane.slices:
            grey["vmax"] = 1.0
        axes.imshow(plane.slices[shown], **grey, origin="lower")
    if key == "truth" and plane.slices["truth"].any():
        rows, columns = plane.slices["truth"].shape
        x = (np.arange(columns) + 0.5) * width / columns
        y = (np.arange(rows) + 0.5) * height / rows
        if rows > 1 and columns > 1:
            truth = (plane.slices["truth"] > 0).astype(float)
            axes.contour(x, y, truth, [0.5], colors=_OUTLINE, linewidths=0.9)
    axes.set_aspect("equal")  # mm, and so centred in the cell at the scale of all panels
    if first:
        # In the figure, not in the axes, so that the next panel does not cover a letter.
        inches = figure.get_size_inches()
        half = rect[3] * inches[1] / height * width / inches[0] / 2 + 4 / (100 * inches[0])
        x, y = rect[0] + rect[2] / 2, rect[1] + rect[3] / 2
        places = ((x - half, y), (x + half, y), (x, rect[1] + rect[3]), (x, rect[1]))
        # A 2D image has no letters.
        for letter, place in zip(plane.edges, places, strict=False):
            _text(figure, *place, letter, size=7)


def _agreement(slices: Slices, known: bool) -> np.ndarray:
    """RGBA of found, false and missed voxels; where the truth is not known, of predicted ones."""
    from matplotlib.colors import to_rgba

    predicted = slices["segmentation"] > 0
    none = np.zeros_like(predicted)
    truth = slices["truth"] > 0 if "truth" in slices else (none if known else predicted)
    colours = np.zeros((*predicted.shape, 4))
    colours[predicted & truth] = to_rgba(FOUND)
    colours[predicted & ~truth] = to_rgba(FALSE_ALARM)
    colours[~predicted & truth] = to_rgba(MISSED)
    return colours


def _text(figure: "Figure", x: float, y: float, text: str, size: float, **style: Any) -> None:
    figure.text(x, y, text, ha="center", va="center", color="#e6e9ee", fontsize=size, **style)


def _colour_bar(
    figure: "Figure",
    columns: list[str],
    limit: float,
    threshold: float | None,
    size: tuple[float, float],
) -> None:
    if "anomaly" not in columns:
        return
    width, height = size
    x = _LEFT + columns.index("anomaly") * (_PANEL + _GAP) + 15
    rect = (x / width, 28 / height, (_PANEL - 30) / width, 8 / height)
    axes = figure.add_axes(rect)
    axes.imshow(
        np.linspace(0, 1, 256)[None], cmap="inferno", aspect="auto", extent=(0, limit, 0, 1)
    )
    axes.set_yticks([])
    axes.set_xticks([0, limit], ["0", f"≥ {limit:.3g}"])
    axes.tick_params(colors="#c9ced6", labelsize=7, length=2, pad=2)
    if threshold is not None and 0 < threshold <= limit:
        axes.axvline(threshold, color="white", linewidth=1.2)
        label = f"▼ {threshold:.3g}"
        axes.text(threshold, 1.2, label, color="white", fontsize=7, ha="center", va="bottom")


def _legend(
    figure: "Figure", columns: list[str], view: SubjectView, size: tuple[float, float]
) -> None:
    if "segmentation" not in columns:
        return
    width, height = size
    entries = [(FOUND, "found"), (FALSE_ALARM, "false alarm"), (MISSED, "missed")]
    if view.lesion_ml == 0:
        entries = entries[1:2]
    elif view.lesion_ml is None:
        entries = [(FOUND, "predicted (truth unknown)")]
    x = float(_LEFT + columns.index("segmentation") * (_PANEL + _GAP) + 4)
    for colour, text in entries:
        figure.text(x / width, 30 / height, "■", color=colour, fontsize=10, va="center")
        style: dict[str, Any] = {"color": "#e6e9ee", "fontsize": 8, "va": "center"}
        figure.text((x + 13) / width, 30 / height, text, **style)
        x += 20 + 5.6 * len(text)

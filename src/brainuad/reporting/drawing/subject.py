"""Picture of a subject: three planes by scan, truth, reconstruction, anomaly map and mask."""

import numpy as np

from brainuad.reporting.drawing.panels import Picture, Sheet, colour_bar, outline, show
from brainuad.reporting.drawing.views import TITLES, PlaneView, Slices, SubjectView

FOUND, FALSE_ALARM, MISSED = "#f0e442", "#d55e00", "#56b4e9"  # Okabe and Ito, colour-blind safe
_OUTLINE = "#ff2d95"  # seen on black and on white
_PANEL, _GAP, _ROW_GAP, _LEFT, _TOP, _BOTTOM = 200, 5, 10, 34, 30, 50
_LABEL = 70  # height of "x = −12 mm" beside a slab of a few slices


def draw_subject(view: SubjectView, limit: float, threshold: float | None = None) -> Picture:
    """Return the picture of a subject.

    Args:
        view: planes of its volumes, from `load_view`.
        limit: top of the anomaly scale, from `shared_limit`.
        threshold: score to mark on the colour bar.
    """
    columns = [key for key in TITLES if key in view.planes[0].slices]
    # One scale for all panels, so that the planes of a brain agree in size.
    per_mm = _PANEL / max(plane.size_mm[0] for plane in view.planes)
    heights = [plane.size_mm[1] * per_mm for plane in view.planes]
    rows = [max(tall, _LABEL) for tall in heights]
    width = _LEFT + len(columns) * (_PANEL + _GAP)
    sheet = Sheet(width, _TOP + sum(rows) + _ROW_GAP * len(rows) + _BOTTOM)
    lefts = {key: _LEFT + i * (_PANEL + _GAP) for i, key in enumerate(columns)}
    for key, x in lefts.items():
        sheet.text(x + _PANEL / 2, 11, TITLES[key], size=9)
    y = float(_TOP)
    for plane, tall, row in zip(view.planes, heights, rows, strict=True):
        middle = y + row / 2
        label = f"{plane.name}\n{plane.position}".strip()
        sheet.text(14, middle, label, size=7.5, rotation=90)
        wide = plane.size_mm[0] * per_mm
        for key, x in lefts.items():
            place = x + (_PANEL - wide) / 2, y + (row - tall) / 2, wide, tall
            _panel(sheet, place, plane, key, view, limit)
        _edges(sheet, plane, _LEFT + _PANEL / 2, middle, wide, tall)
        y += row + _ROW_GAP
    if "anomaly" in lefts:
        x = lefts["anomaly"] + 15
        colour_bar(sheet, x, sheet.height - 36, _PANEL - 30, limit, threshold)
    if "segmentation" in lefts:
        _legend(sheet, lefts["segmentation"], view.lesion_ml)
    return sheet.jpeg()


def _panel(
    sheet: Sheet,
    place: tuple[float, float, float, float],
    plane: PlaneView,
    key: str,
    view: SubjectView,
    limit: float,
) -> None:
    axes, slices, size = sheet.panel(*place), plane.slices, plane.size_mm
    if key == "anomaly":
        show(axes, slices[key], size, cmap="inferno", vmax=limit)
    elif key == "segmentation":
        # Dimmed, so that the colours carry the message.
        show(axes, slices["image"] * 0.6, size, vmax=view.window)
        colours = _agreement(slices, view.lesion_ml is not None)
        show(axes, colours, size, interpolation="nearest")
    elif key == "truth":
        show(axes, slices["image"], size, vmax=view.window)
        outline(axes, slices[key], size, _OUTLINE)
    else:
        # Tissue maps are in [0, 1], and so are reconstructions of them.
        top = 1.0 if key != "image" and "seen" in slices else view.window
        show(axes, slices[key], size, vmax=top)


def _edges(sheet: Sheet, plane: PlaneView, x: float, y: float, wide: float, tall: float) -> None:
    """Write the sides of the patient around the first panel; a 2D image has none."""
    half_width, half_height = wide / 2 + 4, tall / 2
    places = ((x - half_width, y), (x + half_width, y), (x, y - half_height), (x, y + half_height))
    for letter, place in zip(plane.edges, places, strict=False):
        sheet.text(*place, letter, size=7)


def _agreement(slices: Slices, known: bool) -> np.ndarray:
    """Return RGBA of found, false and missed voxels; of predicted ones where truth is unknown."""
    from matplotlib.colors import to_rgba

    predicted = slices["segmentation"] > 0
    none = np.zeros_like(predicted)
    truth = slices["truth"] > 0 if "truth" in slices else (none if known else predicted)
    colours = np.zeros((*predicted.shape, 4))
    colours[predicted & truth] = to_rgba(FOUND)
    colours[predicted & ~truth] = to_rgba(FALSE_ALARM)
    colours[~predicted & truth] = to_rgba(MISSED)
    return colours


def _legend(sheet: Sheet, left: float, lesion_ml: float | None) -> None:
    entries = [(FOUND, "found"), (FALSE_ALARM, "false alarm"), (MISSED, "missed")]
    if lesion_ml == 0:
        entries = entries[1:2]
    elif lesion_ml is None:
        entries = [(FOUND, "predicted (truth unknown)")]
    x, y = left + 4, sheet.height - 30
    for colour, text in entries:
        sheet.text(x, y, "■", size=10, color=colour, ha="left")
        sheet.text(x + 13, y, text, size=8, ha="left")
        x += 20 + 5.6 * len(text)

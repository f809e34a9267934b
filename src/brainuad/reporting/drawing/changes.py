"""Picture of a pair of visits: the slices with the largest changes, gained and lost tissue."""

import numpy as np

from brainuad.reporting.drawing.panels import Picture, Sheet, outline, show
from brainuad.reporting.drawing.views import radiological

GAINED, LOST = "#d55e00", "#56b4e9"  # Okabe and Ito, colour-blind safe
MOST = 3
"""Number of slices that are shown."""

_PANEL, _GAP, _TOP, _BOTTOM = 230, 6, 24, 24
_APART_MM = 12.0


def draw_changes(
    first: np.ndarray, second: np.ndarray, gained: np.ndarray, lost: np.ndarray, spacing_mm: float
) -> Picture:
    """Return a picture: axial slices of both visits, and the second one with the changes outlined.

    Args:
        first: `(D, H, W)`, first visit, RAS axes, 0 outside the brain.
        second: second visit on the same grid, normalised alike.
        gained: bool, tissue that became abnormal.
        lost: bool, tissue that is no longer abnormal.
        spacing_mm: edge length of a voxel.
    """
    levels = _levels(gained | lost, second, spacing_mm)
    size = first.shape[0] * spacing_mm, first.shape[1] * spacing_mm
    scale = _PANEL / max(size)
    wide, tall = size[0] * scale, size[1] * scale
    height = _TOP + len(levels) * (tall + _GAP) + _BOTTOM
    sheet = Sheet(3 * (wide + _GAP) - _GAP, height)
    brain = second[second > 0]
    top = 1.1 * float(np.percentile(brain, 99.8)) if brain.size else 1.0
    for column, title in enumerate(("first visit", "second visit", "changes")):
        x = column * (wide + _GAP)
        sheet.text(x + wide / 2, _TOP / 2, title, size=9)
        for row, level in enumerate(levels):
            y = _TOP + row * (tall + _GAP)
            axes, at = sheet.panel(x, y, wide, tall), [0, 0, level]
            show(axes, radiological((first, second, second)[column], 2, at), size, vmax=top)
            if column == 2:
                outline(axes, radiological(gained, 2, at), size, GAINED, thickness=1.2)
                outline(axes, radiological(lost, 2, at), size, LOST, thickness=1.2)
    for x, colour, text in ((wide * 0.5, GAINED, "new or grown"), (wide * 1.5, LOST, "gone")):
        sheet.text(x, height - _BOTTOM / 2, f"■ {text}", size=9, color=colour)
    return sheet.jpeg()


def _levels(changed: np.ndarray, image: np.ndarray, spacing_mm: float) -> list[int]:
    """Return the slices with the largest changed areas, apart from one another, from the top."""
    areas = changed.sum(axis=(0, 1)).astype(float)
    if not areas.any():
        return [int((image > 0).sum(axis=(0, 1)).argmax())]
    found: list[int] = []
    while areas.any() and len(found) < MOST:
        level = int(areas.argmax())
        found.append(level)
        near = int(_APART_MM / spacing_mm)
        areas[max(0, level - near) : level + near + 1] = 0
    return sorted(found, reverse=True)

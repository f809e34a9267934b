"""Picture of the mean false-positive map over the MNI152 template."""

from typing import Any

import numpy as np

from brainuad.machine.text import figure_text
from brainuad.reporting.drawing.panels import LIGHT, Picture, Sheet, show
from brainuad.reporting.drawing.views import radiological
from brainuad.volumes.template import load_template

SPACING_MM = 2.0
HEIGHTS_MM = (-24, -8, 8, 24, 40, 56)
_PANEL, _GAP, _LABEL = 150, 4, 26


def draw_false_positives(maps: dict[str, np.ndarray]) -> Picture:
    """Return axial slices of the template with the share of brains that have a false positive.

    Args:
        maps: method to `(D, H, W)` shares on the template's grid at 2 mm; a row each.
    """
    template = load_template(SPACING_MM)
    brain = 0.25 * template.csf + 0.6 * template.grey + 0.95 * template.white
    size_mm = brain.shape[0] * SPACING_MM, brain.shape[1] * SPACING_MM
    tall = _PANEL * size_mm[1] / size_mm[0]
    width = _LABEL + len(HEIGHTS_MM) * (_PANEL + _GAP)
    sheet = Sheet(width, _LABEL + len(maps) * (tall + _GAP) + 40)
    limit = max(0.02, *(float(array.max()) for array in maps.values()))
    shown: Any = None
    for row, (name, array) in enumerate(maps.items()):
        y = _LABEL + row * (tall + _GAP)
        sheet.text(11, y + tall / 2, figure_text(name), size=8, rotation=90)
        for column, mm in enumerate(HEIGHTS_MM):
            at = [0, 0, round((mm - template.affine[2, 3]) / SPACING_MM)]
            x = _LABEL + column * (_PANEL + _GAP)
            axes = sheet.panel(x, y, _PANEL, tall)
            show(axes, radiological(brain, 2, at), size_mm, vmax=1.3)
            share = np.ma.masked_less_equal(radiological(array, 2, at), 0)
            shown = show(axes, share, size_mm, cmap="hot", vmax=limit)
            if row == 0:
                sheet.text(x + _PANEL / 2, 12, f"z = {mm} mm".replace("-", "−"), size=8)
    bar = sheet.axes(0.3 * width, sheet.height - 33, 0.4 * width, 7)
    sheet.figure.colorbar(shown, cax=bar, orientation="horizontal")
    bar.tick_params(colors=LIGHT, labelsize=7, length=2, pad=2)
    words = "share of the brains with a false positive (R is left)"
    sheet.text(0.86 * width, sheet.height - 26, words, size=6.5)
    return sheet.jpeg()

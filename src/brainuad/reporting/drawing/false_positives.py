"""The mean false-positive map over the MNI152 template, as a picture."""

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from brainuad.machine.text import figure_text
from brainuad.reporting.drawing.subject import Picture
from brainuad.volumes.template import load_template

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SPACING_MM = 2.0
HEIGHTS_MM = (-24, -8, 8, 24, 40, 56)
_PANEL, _GAP, _LABEL = 150, 4, 26


def draw_false_positives(maps: dict[str, np.ndarray]) -> Picture:
    """Axial slices of the template with the share of brains that have a false positive.

    Args:
        maps: method to `(D, H, W)` shares on the template's grid at 2 mm; a row each.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    template = load_template(SPACING_MM)
    brain = 0.25 * template.csf + 0.6 * template.grey + 0.95 * template.white
    tall = _PANEL * brain.shape[1] / brain.shape[0]
    width = _LABEL + len(HEIGHTS_MM) * (_PANEL + _GAP)
    height = _LABEL + len(maps) * (tall + _GAP) + 40
    figure = Figure(figsize=(width / 100, height / 100), dpi=130, facecolor="black")
    canvas = FigureCanvasAgg(figure)
    limit = max(0.02, *(float(array.max()) for array in maps.values()))
    style: dict[str, Any] = {"color": "#e6e9ee", "ha": "center", "va": "center"}
    shown: Any = None
    for row, (name, array) in enumerate(maps.items()):
        y = height - _LABEL - (row + 1) * (tall + _GAP)
        figure.text(
            11 / width, (y + tall / 2) / height, figure_text(name), rotation=90, fontsize=8, **style
        )
        for column, mm in enumerate(HEIGHTS_MM):
            z = round((mm - template.affine[2, 3]) / SPACING_MM)
            x = _LABEL + column * (_PANEL + _GAP)
            axes = figure.add_axes((x / width, y / height, _PANEL / width, tall / height))
            shown = _slice(axes, brain[:, :, z], array[:, :, z], limit)
            if row == 0:
                label = f"z = {mm} mm".replace("-", "−")
                figure.text((x + _PANEL / 2) / width, 1 - 12 / height, label, fontsize=8, **style)
    bar = figure.add_axes((0.3, 26 / height, 0.4, 7 / height))
    figure.colorbar(shown, cax=bar, orientation="horizontal")
    bar.tick_params(colors="#c9ced6", labelsize=7, length=2, pad=2)
    words = "share of the brains with a false positive (R is left)"
    figure.text(0.86, 26 / height, words, fontsize=6.5, **style)
    canvas.draw()
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).save(buffer, "JPEG", quality=85)
    return Picture(buffer.getvalue(), round(width), round(height))


def _slice(axes: "Axes", brain: np.ndarray, share: np.ndarray, limit: float) -> Any:
    """Radiological: the patient's right on the picture's left."""
    axes.set_axis_off()
    axes.imshow(brain[::-1].T, cmap="gray", origin="lower", vmin=0, vmax=1.3)
    turned = share[::-1].T
    seen = np.ma.masked_less_equal(turned, 0)
    return axes.imshow(seen, cmap="hot", origin="lower", vmin=0, vmax=limit)

"""The picture of an inpainted scan: before, what was marked, after."""

import io
from pathlib import Path

import numpy as np

from brainuad.machine.files import atomic_path
from brainuad.reporting.drawing.views import radiological
from brainuad.types import Volume
from brainuad.volumes.orient import to_ras
from brainuad.volumes.regions import box_of

_PANEL, _GAP, _TOP = 260, 6, 24
_NEAR = 6  # voxels
_OUTLINE = "#ff2d95"  # seen on black and on white
_AXES = (2, 1, 0)


def write_picture(
    path: Path, scan: Volume, hole: np.ndarray, where: np.ndarray, values: np.ndarray
) -> None:
    """Writes a PNG, atomically: three planes through the largest cuts of the hole.

    Left and right are in radiological convention, all panels at one grey scale and one length
    scale.

    Args:
        path: path of the picture.
        scan: before, in its own axes.
        hole: `(D, H, W)` bool, what was marked.
        where: bool, what changed.
        values: `(N,)` of `array[where]`, after.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    after = scan.array.copy()
    after[where] = values
    before, filled, marked = (
        to_ras(Volume(array, scan.affine)) for array in (scan.array, after, hole.astype(np.float32))
    )
    mask = marked.array > 0.5
    cuts = [int(mask.sum(axis=tuple({0, 1, 2} - {axis})).argmax()) for axis in range(3)]
    # By what surrounds the hole: a lesion may hold anything, and fat outshines the brain.
    near = filled.array[box_of(mask, (_NEAR,) * 3)]
    top = 1.05 * float(np.percentile(near[near > near.min()], 99.5)) if np.ptp(near) else None
    size_mm = np.array(mask.shape) * before.spacing_mm
    across = [tuple(size_mm[[i for i in range(3) if i != axis]]) for axis in _AXES]
    scale = _PANEL / max(wide for wide, _ in across)
    tall = [high * scale for _, high in across]
    width = 3 * (_PANEL + _GAP) - _GAP
    height = _TOP + sum(tall) + _GAP * len(tall)
    figure = Figure(figsize=(width / 100, height / 100), dpi=130, facecolor="black")
    canvas = FigureCanvasAgg(figure)
    y = height - _TOP
    for row, (axis, (wide, _)) in enumerate(zip(_AXES, across, strict=True)):
        y -= tall[row]
        outline = radiological(mask, axis, cuts)
        for column, (title, volume) in enumerate(
            (("before", before), ("marked", before), ("after", filled))
        ):
            x = column * (_PANEL + _GAP) + (_PANEL - wide * scale) / 2
            rect = (x / width, y / height, wide * scale / width, tall[row] / height)
            axes = figure.add_axes(rect)
            axes.set_axis_off()
            plane = radiological(volume.array, axis, cuts)
            axes.imshow(plane, cmap="gray", vmin=0, vmax=top, aspect="auto")
            if title == "marked" and not outline.all():
                axes.contour(outline.astype(float), [0.5], colors=_OUTLINE, linewidths=0.8)
            if row == 0:
                place = ((column * (_PANEL + _GAP) + _PANEL / 2) / width, 1 - _TOP / 2 / height)
                figure.text(*place, title, color="#e6e9ee", fontsize=9, ha="center", va="center")
        y -= _GAP
    buffer = io.BytesIO()
    canvas.print_png(buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())

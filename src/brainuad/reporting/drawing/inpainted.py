"""Picture of an inpainted scan: before, lesion mask, after."""

from pathlib import Path

import numpy as np

from brainuad.machine.files import atomic_path
from brainuad.reporting.drawing.panels import Sheet, outline, show
from brainuad.reporting.drawing.views import radiological
from brainuad.types import Volume
from brainuad.volumes.orient import to_ras
from brainuad.volumes.regions import box_of

_PANEL, _GAP, _TOP = 260, 6, 24
_NEAR = 6  # voxels around the lesion mask that decide the brightness
_OUTLINE = "#ff2d95"  # seen on black and on white
_AXES = (2, 1, 0)


def write_picture(
    path: Path, scan: Volume, hole: np.ndarray, where: np.ndarray, values: np.ndarray
) -> None:
    """Write a PNG, atomically: three planes through the largest cuts of the lesion mask.

    Left and right are in radiological convention. All panels have one grey scale and one length
    scale.

    Args:
        path: file to write.
        scan: scan before, in its own axes.
        hole: `(D, H, W)` bool, lesion mask.
        where: bool, voxels that changed.
        values: `(N,)` of `array[where]`, after.
    """
    after = scan.array.copy()
    after[where] = values
    before, filled, marked = (
        to_ras(Volume(array, scan.affine)) for array in (scan.array, after, hole.astype(np.float32))
    )
    mask = marked.array > 0.5
    cuts = [int(mask.sum(axis=tuple({0, 1, 2} - {axis})).argmax()) for axis in range(3)]
    # By what surrounds the lesion: it may hold anything, and fat outshines the brain.
    near = filled.array[box_of(mask, (_NEAR,) * 3)]
    top = 1.05 * float(np.percentile(near[near > near.min()], 99.5)) if np.ptp(near) else None
    size_mm = np.array(mask.shape) * before.spacing_mm
    sizes = [tuple(size_mm[[i for i in range(3) if i != axis]]) for axis in _AXES]
    scale = _PANEL / max(wide for wide, _ in sizes)
    height = _TOP + sum(high * scale + _GAP for _, high in sizes)
    sheet = Sheet(3 * (_PANEL + _GAP) - _GAP, height)
    y = float(_TOP)
    for axis, size in zip(_AXES, sizes, strict=True):
        wide, tall = size[0] * scale, size[1] * scale
        for column, (title, volume) in enumerate(
            (("before", before), ("lesion mask", before), ("after", filled))
        ):
            x = column * (_PANEL + _GAP)
            axes = sheet.panel(x + (_PANEL - wide) / 2, y, wide, tall)
            show(axes, radiological(volume.array, axis, cuts), size, vmax=top)
            if column == 1:
                outline(axes, radiological(mask, axis, cuts), size, _OUTLINE)
            if axis == _AXES[0]:
                sheet.text(x + _PANEL / 2, _TOP / 2, title, size=9)
        y += tall + _GAP
    with atomic_path(path) as temporary:
        temporary.write_bytes(sheet.png())

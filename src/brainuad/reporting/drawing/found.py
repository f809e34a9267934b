"""Picture of a prediction: three planes of the scan, below them its anomaly map and mask."""

import numpy as np

from brainuad.metrics.lesion import label_lesions
from brainuad.postprocess.box import brain_box
from brainuad.reporting.drawing.panels import Picture, Sheet, colour_bar, outline, show
from brainuad.reporting.drawing.views import PLANES, SLICE, radiological
from brainuad.types import Volume
from brainuad.volumes.orient import to_ras
from brainuad.volumes.planes import is_slice

_PANEL, _GAP, _SIDE, _BOTTOM = 200, 12, 14, 40
_OUTLINE = "#00e5ff"  # seen on grey and on every colour of the map
_BACKGROUND = 0.1  # share of the white level; a darker voxel is no head


def draw_found(
    scan: Volume,
    anomaly_map: np.ndarray,
    mask: np.ndarray,
    threshold: float,
    sides_known: bool = True,
) -> Picture:
    """Return the picture of a prediction, in radiological view.

    Args:
        scan: the scan, in its own axes; of a 2D image one plane.
        anomaly_map: `(D, H, W)`, on its grid.
        mask: `(D, H, W)` bool.
        threshold: score to mark on the colour bar.
        sides_known: False leaves out the letters for left and right.
    """
    image, score, marked = (
        to_ras(Volume(array.astype(np.float32), scan.affine))
        for array in (scan.array, anomaly_map, mask)
    )
    at = cuts(marked.array > 0.5, score.array)
    white = max(float(np.quantile(image.array, 0.995)), 1e-6)
    limit = _limit(score.array, threshold)
    box = brain_box(image.array > _BACKGROUND * white, (2, 2, 2))
    arrays = image.array[box], score.array[box], marked.array[box]
    inside = [place - edge.start for place, edge in zip(at, box, strict=True)]
    planes = (SLICE,) if is_slice(image.array) else PLANES
    sizes = []
    for _, axis, *_ in planes:
        across, up = (other for other in range(3) if other != axis)
        shape, spacing = arrays[0].shape, image.spacing_mm
        sizes.append((shape[across] * spacing[across], shape[up] * spacing[up]))
    # One scale for all panels, so that the planes of a head agree in size.
    per_mm = _PANEL / max(max(size) for size in sizes)
    tall = max(size[1] for size in sizes) * per_mm
    width = _SIDE + sum(size[0] * per_mm + _GAP + _SIDE for size in sizes)
    sheet = Sheet(width, 2 * (tall + _GAP + _SIDE) + _BOTTOM)
    x = float(_SIDE)
    for (_, axis, _, edges), size in zip(planes, sizes, strict=True):
        grey, map_, found = (radiological(array, axis, inside) for array in arrays)
        wide, high = size[0] * per_mm, size[1] * per_mm
        for row in range(2):
            y = _SIDE + row * (tall + _GAP + _SIDE) + (tall - high) / 2
            axes = sheet.panel(x, y, wide, high)
            show(axes, grey, size, vmax=white)
            if row:
                show(axes, _overlay(map_, limit), size)
                outline(axes, found, size, _OUTLINE, thickness=1.2)
            letters = edges if sides_known else edges.replace("RL", "  ")
            middle, half = y + high / 2, x + wide / 2
            places = ((x - 6, middle), (x + wide + 6, middle), (half, y - 6), (half, y + high + 6))
            for letter, place in zip(letters, places, strict=False):
                sheet.text(*place, letter, size=7)
        x += wide + _GAP + _SIDE
    bar = min(_PANEL, width - 2 * _SIDE - 30)
    colour_bar(sheet, (width - bar) / 2, sheet.height - 24, bar, limit, threshold)
    return sheet.jpeg()


def cuts(mask: np.ndarray, score: np.ndarray) -> list[int]:
    """Return the index along each axis: the largest cut through the largest finding.

    Args:
        mask: `(D, H, W)` bool; where it is empty, the largest sum of scores decides.
        score: `(D, H, W)`.
    """
    mass = score
    if mask.any():
        labels = label_lesions(mask)
        mass = labels == np.bincount(labels[mask]).argmax()
    return [int(mass.sum(axis=tuple({0, 1, 2} - {axis})).argmax()) for axis in range(3)]


def _limit(score: np.ndarray, threshold: float) -> float:
    """Return the top of the colour scale: the 99.9th percentile, not below the threshold."""
    positive = score[score > 0]
    top = float(np.quantile(positive, 0.999)) if positive.size else 0.0
    # The threshold of a scan may be NaN.
    limit = max(top, threshold if np.isfinite(threshold) else 0.0)
    return limit if limit > 0 else 1.0


def _overlay(score: np.ndarray, limit: float) -> np.ndarray:
    """Return RGBA of scores; the lower a score, the more of the scan shows."""
    from matplotlib import colormaps

    share = np.clip(score / limit, 0, 1)
    colours = colormaps["inferno"](share)
    colours[..., 3] = 0.8 * np.sqrt(share)
    return colours

"""Write the files that the page loads for one scan: a thumbnail, and a script with its volumes."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from scipy import ndimage
from skimage.segmentation import find_boundaries

from brainuad.machine.files import atomic_path, write_text
from brainuad.machine.fingerprint import fingerprint
from brainuad.machine.text import without_home
from brainuad.reporting.drawing.views import radiological
from brainuad.reporting.viewer import copies
from brainuad.reporting.viewer.copies import Frame
from brainuad.reporting.viewer.rows import ScanRow
from brainuad.volumes.grids import require_same_grid
from brainuad.volumes.nifti import read_volume
from brainuad.volumes.orient import to_ras
from brainuad.volumes.read import read_native

FORMAT = 1  # of the script; raised when the page needs other ones
OUTLINE = (0, 229, 255)  # also the page's; seen on grey and on warm colours
THUMBNAIL = 224  # pixels, twice what the page shows


def key_of(scan_id: str) -> str:
    """A file name for a scan, whatever characters its name has."""
    return hashlib.sha256(scan_id.encode()).hexdigest()[:16]


def write_scan(row: ScanRow, out: Path, folder: Path) -> None:
    """Writes `KEY.js` and `KEY.jpg` of a scan, unless they are there and nothing has changed.

    Args:
        row: a scan that `can_be_opened`.
        out: folder that the page lies in.
        folder: to write to.

    Raises:
        InputError: a volume is missing, damaged or on another grid than the scan.
    """
    script = folder / f"{key_of(row.scan_id)}.js"
    picture = script.with_suffix(".jpg")
    stamp = f"// {_stamp(row)}\n"
    if picture.is_file() and _first_line(script) == stamp:
        return
    data, jpeg = _content(row, out)
    with atomic_path(picture) as temporary:
        temporary.write_bytes(jpeg)
    # ASCII JSON in a script of its own: nothing in it can end the script or be read as markup.
    write_text(script, f"{stamp}brainuad.receive({json.dumps(data, allow_nan=False)});\n")


def _stamp(row: ScanRow) -> str:
    """Return what changes when the row, its findings or a file that it names does."""
    return fingerprint(FORMAT, row)


def _first_line(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open(encoding="utf-8") as file:
        return file.readline(100)


def _content(row: ScanRow, out: Path) -> tuple[dict[str, Any], bytes]:
    assert row.image is not None
    native = read_native(row.image)

    def load(path: Path) -> np.ndarray:
        volume = read_volume(path)
        require_same_grid(path, volume, native)
        return to_ras(volume).array

    scan = to_ras(native)
    anomaly = load(row.files["anomaly"])
    mask = load(row.files["mask"]) > 0 if "mask" in row.files else np.zeros(anomaly.shape, bool)
    frame = copies.frame_of(scan, mask | (anomaly > 0))
    # From here on only copies: one volume of the scan's own size in memory at a time.
    low, high = copies.window(scan.array)
    grey, *grey_scale = copies.grey_levels(frame.copy(scan.array), low, high)
    shown_mask = frame.copy(mask) >= 0.5
    threshold = row.numbers["threshold"]
    levels, step = copies.score_levels(frame.copy(anomaly), threshold)
    del scan, anomaly, mask
    volumes = {
        "scan": copies.encode(grey, frame.affine, *grey_scale),
        "anomaly": copies.encode(levels, frame.affine, step),
        "mask": copies.encode(copies.outline(shown_mask).astype(np.uint8), frame.affine),
    }
    if "reconstruction" in row.files:
        other = frame.copy(load(row.files["reconstruction"]))
        volumes["reconstruction"] = copies.encode(
            copies.grey_levels(other, low, high)[0], frame.affine, *grey_scale
        )
    if "uncertainty" in row.files:
        spread, spread_step = copies.score_levels(frame.copy(load(row.files["uncertainty"])), None)
        volumes["uncertainty"] = copies.encode(spread, frame.affine, spread_step)
    data = {
        "id": row.scan_id,
        "subject": row.subject,
        "sequence": row.sequence,
        "status": row.status,
        "reason": without_home(row.said),
        "image": without_home(row.image),
        **row.numbers,
        "findings": row.findings,
        "files": {name: quote(path.relative_to(out).as_posix()) for name, path in row.files.items()
                  if path.is_relative_to(out)},
        "step": step,
        "top": int(levels.max()),
        "spacing_mm": frame.spacing_mm,
        "slice": native.array.shape[2] == 1,
        "reduced": frame.factor != (1, 1, 1),
        "volumes": volumes,
    }  # fmt: skip
    return data, _thumbnail(grey, levels, shown_mask, frame)


def _thumbnail(grey: np.ndarray, levels: np.ndarray, mask: np.ndarray, frame: Frame) -> bytes:
    """The axial slice with the most anomaly, what is detected in it outlined."""
    from PIL import Image

    mass = levels * mask if mask.any() else levels
    sums = mass.sum(axis=(0, 1), dtype=np.int64)
    at = [0, 0, int(sums.argmax()) if sums.any() else grey.shape[2] // 2]
    size_mm = np.array(grey.shape[:2]) * frame.spacing_mm[:2]
    width, height = np.maximum(1, np.rint(size_mm * THUMBNAIL / size_mm.max())).astype(int)

    def resized(array: np.ndarray) -> np.ndarray:
        plane = Image.fromarray(np.ascontiguousarray(radiological(array, 2, at)))
        return np.asarray(plane.resize((int(width), int(height)), Image.Resampling.BILINEAR))

    colours = np.repeat(resized(grey)[..., None], 3, axis=2)
    outline = find_boundaries(resized(mask.astype(np.uint8) * 255) > 127, mode="thick")
    outline = ndimage.binary_dilation(outline)  # shown at half the size
    colours[outline] = OUTLINE
    square = np.zeros((THUMBNAIL, THUMBNAIL, 3), np.uint8)
    y, x = (THUMBNAIL - height) // 2, (THUMBNAIL - width) // 2
    square[y : y + height, x : x + width] = colours
    buffer = io.BytesIO()
    Image.fromarray(square).save(buffer, "JPEG", quality=82, optimize=True)
    return buffer.getvalue()

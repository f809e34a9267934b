"""Files of one scan that the page loads: a thumbnail, and a script that holds its volumes."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from brainuad.machine.files import atomic_path, write_text
from brainuad.machine.fingerprint import fingerprint
from brainuad.machine.text import without_home
from brainuad.reporting.drawing.panels import Sheet, outline, show
from brainuad.reporting.drawing.views import radiological
from brainuad.reporting.viewer import copies
from brainuad.reporting.viewer.copies import Frame
from brainuad.reporting.viewer.rows import ScanRow
from brainuad.volumes.grids import require_same_grid
from brainuad.volumes.nifti import read_volume
from brainuad.volumes.orient import to_ras
from brainuad.volumes.read import read_native

FORMAT = 2
"""Version of the script; raised when the page needs another one."""

OUTLINE = "#00e5ff"
"""Colour of the mask's outline, as on the page; seen on grey and on warm colours."""

THUMBNAIL = 224
"""Pixels of a thumbnail's edge, twice what the page shows."""


def key_of(scan_id: str) -> str:
    """Return a file name for a scan, whatever characters its name has."""
    return hashlib.sha256(scan_id.encode()).hexdigest()[:16]


def write_scan(row: ScanRow, out: Path, folder: Path) -> None:
    """Write `KEY.js` and `KEY.jpg` of a scan, unless they are there and nothing has changed.

    Args:
        row: a scan that `can_be_opened`.
        out: folder of the page.
        folder: folder of the files.

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
    image, files = row.image, row.files
    assert image is not None
    assert files.anomaly is not None
    native = read_native(image)

    def load(path: Path) -> np.ndarray:
        volume = read_volume(path)
        require_same_grid(path, volume, native)
        return to_ras(volume).array

    scan = to_ras(native)
    anomaly = load(files.anomaly)
    mask = load(files.mask) > 0 if files.mask else np.zeros(anomaly.shape, bool)
    frame = copies.frame_of(scan, mask | (anomaly > 0))
    # From here on only copies: one volume of the scan's own size in memory at a time.
    low, high = copies.window(scan.array)
    grey, *grey_scale = copies.grey_levels(frame.copy(scan.array), low, high)
    shown_mask = frame.copy(mask) >= 0.5
    levels, step = copies.score_levels(frame.copy(anomaly), row.numbers.threshold)
    del scan, anomaly, mask
    volumes = {
        "scan": copies.encode(grey, frame.affine, *grey_scale),
        "anomaly": copies.encode(levels, frame.affine, step),
        "mask": copies.encode(copies.outline(shown_mask).astype(np.uint8), frame.affine),
    }
    if files.reconstruction:
        other = copies.grey_levels(frame.copy(load(files.reconstruction)), low, high)[0]
        volumes |= {"reconstruction": copies.encode(other, frame.affine, *grey_scale)}
    if files.uncertainty:
        spread, spread_step = copies.score_levels(frame.copy(load(files.uncertainty)), None)
        volumes |= {"uncertainty": copies.encode(spread, frame.affine, spread_step)}
    data = {
        "id": row.scan_id,
        "subject": row.subject,
        "sequence": row.sequence,
        "status": row.status,
        "flags": [[without_home(text) for text in flag] for flag in row.flags],
        "notes": without_home(row.notes),
        "image": without_home(row.image),
        **asdict(row.numbers),
        "findings": [asdict(finding) for finding in row.findings],
        "files": {name: quote(path.relative_to(out).as_posix())
                  for name, path in asdict(files).items() if path and path.is_relative_to(out)},
        "step": step,
        "top": int(levels.max()),
        "spacing_mm": frame.spacing_mm,
        "size_mm": (np.array(levels.shape) * frame.spacing_mm).tolist(),
        "slice": native.array.shape[2] == 1,
        "reduced": frame.factor != (1, 1, 1),
        "volumes": volumes,
    }  # fmt: skip
    return data, _thumbnail(grey, levels, shown_mask, frame)


def _thumbnail(grey: np.ndarray, levels: np.ndarray, mask: np.ndarray, frame: Frame) -> bytes:
    """Return a JPEG of the axial slice with the most anomaly, with the outline of the mask."""
    mass = levels * mask if mask.any() else levels
    sums = mass.sum(axis=(0, 1), dtype=np.int64)
    at = [0, 0, int(sums.argmax()) if sums.any() else grey.shape[2] // 2]
    size = grey.shape[0] * frame.spacing_mm[0], grey.shape[1] * frame.spacing_mm[1]
    scale = THUMBNAIL / max(size)
    width, height = size[0] * scale, size[1] * scale
    sheet = Sheet(THUMBNAIL, THUMBNAIL, scale=1)
    axes = sheet.panel((THUMBNAIL - width) / 2, (THUMBNAIL - height) / 2, width, height)
    show(axes, radiological(grey, 2, at), size, vmax=255)
    outline(axes, radiological(mask, 2, at), size, OUTLINE, thickness=2)
    return sheet.jpeg().jpeg

"""DICOM Segmentation objects of the scans in the output folder that were DICOM series."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from brainuad import __version__
from brainuad.errors import InputError
from brainuad.inference.find_scans import Wanted
from brainuad.inference.records import SEGMENTATION, record_path
from brainuad.machine.failures import Failures
from brainuad.machine.files import write_json
from brainuad.machine.read import read_json
from brainuad.machine.text import say
from brainuad.model.findings import numbered
from brainuad.model.known import Known
from brainuad.types import Volume
from brainuad.volumes.nifti import read_volume

MOST = 100
"""Largest number of segments: viewers list them all. The last one holds the other findings."""


def require_dicom(wanted: Sequence[Wanted]) -> None:
    """Check before any work that Segmentation objects can be made.

    Raises:
        InputError: highdicom is not installed, or no scan is a DICOM series.
    """
    if find_spec("highdicom") is None:
        raise InputError(
            "--dicom-seg: the package highdicom is not installed; pip install 'brainuad[dicom]'"
        )
    count = sum(map(_is_series, wanted))
    if not count:
        raise InputError("--dicom-seg: none of the scans is a DICOM series; leave it out")
    if count < len(wanted):
        say(f"note: {len(wanted) - count} of {len(wanted)} scans are no DICOM series and get no "
            "Segmentation object")  # fmt: skip


def write_segmentations(out: Path, wanted: Sequence[Wanted], known: Known) -> Failures:
    """Write the Segmentation object of each finished series that has findings and lacks its object.

    Args:
        out: output folder with the records of `wanted`.
        wanted: scans of one model; those that failed are passed over.
        known: cards and choices of the model.

    Returns:
        Failures with their reasons; the other files of these scans stay.
    """
    from rich.progress import track

    from brainuad.volumes.dicom.segmentation import Algorithm, write_segmentation

    name = f"brainuad {known.card.name or 'model'}"
    chosen = {"threshold": known.how_marked, "models": str(len(known.cards))}
    algorithm = Algorithm(name, __version__, chosen, known.stamp)
    failures = Failures()
    series = list(filter(_is_series, wanted))
    for item in track(series, description="DICOM objects"):
        with failures.catching(item.scan_id, item.scan.image):
            record: dict[str, Any] = read_json(record_path(out, item))
            row, findings = record["subject"], record["findings"]
            file = item.file(SEGMENTATION)
            there = row.get(SEGMENTATION) and (out / file).is_file()
            if row["status"] == "failed" or not findings or there:
                continue
            segments, names = _segments(out / row["anomaly"], out / row["mask"], findings)
            write_segmentation(out / file, item.scan.image, segments, names, algorithm)
            row[SEGMENTATION] = file
            write_json(record_path(out, item), record)
    return failures


def _is_series(item: Wanted) -> bool:
    return item.scan.image.is_dir()


def _segments(
    anomaly: Path, mask: Path, findings: Sequence[dict[str, Any]]
) -> tuple[Volume, list[str]]:
    """Return the number of each voxel's segment, and the names of the segments.

    Raises:
        InputError: an unreadable file, or files that are not those of the findings.
    """
    marked, score = read_volume(mask), read_volume(anomaly)
    if marked.array.shape == score.array.shape:
        numbers = numbered(marked.array > 0, score.array)
        if numbers.max() == len(findings):
            names = [_name(f"Finding {one['finding']}", [one]) for one in findings]
            if len(findings) > MOST:
                rest = findings[MOST - 1 :]
                names[MOST - 1 :] = [_name(f"Findings {MOST} to {len(findings)}", rest)]
            return Volume(np.minimum(numbers, MOST), marked.affine), names
    raise InputError(
        f"{mask}: is not the mask of its {len(findings)} findings; delete it, and predict again"
    )


def _name(name: str, findings: Sequence[dict[str, Any]]) -> str:
    ml = sum(one["volume_mm3"] for one in findings) / 1000
    return f"{name}, {ml:.2f} ml" if ml >= 0.1 else f"{name}, {ml:.3f} ml"

"""Intensities of a cohort's scans, normalised after all are prepared: some need the others."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from brainuad.cohorts.manifest import Scan
from brainuad.cohorts.scans import RawScan
from brainuad.errors import InputError
from brainuad.machine.files import write_json
from brainuad.machine.guard import Failures, guarded
from brainuad.preparation.normalise.intensity import Normalise, Nyul
from brainuad.volumes.nifti import read_mask, read_volume, write_volume

Records = dict[tuple[str, str], dict[str, Any]]
"""(subject, sequence) to what was done."""


def fitted(
    raw: Sequence[RawScan], records: Records, normalise: Normalise, out: Path
) -> tuple[dict[str, Normalise], Failures]:
    """The normaliser of each sequence; one that learns is fitted on its healthy training scans.

    One that is fitted already stays as it is.
    """
    failures: Failures = []
    found: dict[str, Normalise] = {}
    for sequence in sorted({scan.sequence for scan in raw}):
        found[sequence] = normalise
        if isinstance(normalise, Nyul) and not normalise.standard:
            del found[sequence]
            with guarded(failures, f"({sequence})", out):
                training = _training(raw, records, sequence, out, failures)
                try:
                    found[sequence] = normalise.fitted(training)
                except ValueError as error:
                    raise InputError(f"{out}: {error}") from None
    return found, failures


def write_normalised(
    raw: Sequence[RawScan], records: Records, levels: Mapping[str, Normalise], out: Path
) -> Failures:
    """Writes `scans/<name>.nii.gz` of every record that has none by this normaliser."""
    failures: Failures = []
    for scan in track(raw, description="normalising"):
        key = scan.subject, scan.sequence
        how = levels.get(scan.sequence)
        if key not in records or how is None:
            continue
        record, path = records[key], str(normalised_path(scan, Path()))
        stamp = hashlib.sha256(f"{record['stamp']}{how!r}".encode()).hexdigest()
        if record.get("normalised") == stamp and (out / path).is_file():
            continue
        # Put back last: what fails on the way has no prepared scan.
        record.pop("scan", None)
        with guarded(failures, scan.subject, scan.image):
            volume = read_volume(out / record["image"])
            inside = read_mask(out / record["brain_mask"], like=volume)
            try:
                image = how(volume.array, inside)
            except ValueError as error:
                raise InputError(f"{scan.image}: {error}") from None
            write_volume(out / path, image, volume.affine)
            new = {"scan": path, "normalised": stamp, "normalise": repr(how)}
            write_json(record_path(scan, out), record | new)
            record |= new
    return failures


def record_path(scan: RawScan | Scan, out: Path) -> Path:
    """Where a cohort folder keeps what was done to a scan."""
    return out / "scans" / f"{scan.subject}_{scan.sequence}.json"


def normalised_path(scan: RawScan, out: Path) -> Path:
    """Where a cohort folder keeps the prepared scan."""
    return out / "scans" / f"{scan.subject}_{scan.sequence}.nii.gz"


def _training(
    raw: Sequence[RawScan], records: Records, sequence: str, out: Path, failures: Failures
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The scans to fit to; one that cannot be read is listed and loses its record."""
    for scan in raw:
        key = scan.subject, scan.sequence
        if scan.split != "train" or not scan.healthy or scan.sequence != sequence:
            continue
        found = []
        if record := records.get(key):
            with guarded(failures, scan.subject, scan.image):
                volume = read_volume(out / record["image"])
                found = [(volume.array, read_mask(out / record["brain_mask"], like=volume))]
            if not found:
                del records[key]
        yield from found

"""Fit and apply intensity normalisation when all scans are prepared; Nyúl's needs all of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.progress import track

from brainuad.cohorts.scans import RawScan
from brainuad.errors import InputError
from brainuad.machine.failures import Failures
from brainuad.machine.fingerprint import fingerprint
from brainuad.preparation.normalise.intensity import Normalise, Nyul
from brainuad.preparation.records import Records, key_of, normalised_path
from brainuad.records.scan import Normalised
from brainuad.volumes.nifti import read_mask, read_volume, write_volume


def fitted(
    raw: Sequence[RawScan], records: Records, normalise: Normalise, out: Path
) -> tuple[dict[str, Normalise], Failures]:
    """Return the normaliser of each sequence; one that learns is fitted on healthy training scans.

    One that is fitted already stays as it is.
    """
    failures = Failures()
    found: dict[str, Normalise] = {}
    for sequence in sorted({scan.sequence for scan in raw}):
        found[sequence] = normalise
        if isinstance(normalise, Nyul) and not normalise.standard:
            del found[sequence]
            with failures.catching(f"({sequence})", out):
                training = _training(raw, records, sequence, out, failures)
                try:
                    found[sequence] = normalise.fitted(training)
                except ValueError as error:
                    raise InputError(f"{out}: {error}") from None
    return found, failures


def write_normalised(
    raw: Sequence[RawScan], records: Records, levels: Mapping[str, Normalise], out: Path
) -> Failures:
    """Write `scans/<name>.nii.gz` of every record that has none by this normaliser.

    The records are replaced in `records`. `Finish` writes them when it has compared the scans.
    """
    failures = Failures()
    for scan in track(raw, description="normalising"):
        key, how = key_of(scan), levels.get(scan.sequence)
        if key not in records or how is None:
            continue
        record, path = records[key], normalised_path(scan, Path())
        stamp = fingerprint(record.stamp, how)
        known = record.normalised
        if known is not None and known.stamp == stamp and (out / path).is_file():
            continue
        # Set last: a scan that fails on the way is not normalised.
        records[key] = replace(record, normalised=None)
        with failures.catching(scan.subject, scan.image):
            volume = read_volume(out / record.image)
            inside = read_mask(out / record.brain_mask, like=volume)
            try:
                image = how(volume.array, inside)
            except ValueError as error:
                raise InputError(f"{scan.image}: {error}") from None
            write_volume(out / path, image, volume.affine)
            records[key] = replace(record, normalised=Normalised(str(path), stamp, repr(how)))
    return failures


def _training(
    raw: Sequence[RawScan], records: Records, sequence: str, out: Path, failures: Failures
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The scans to fit to; one that cannot be read is listed and loses its record."""
    for scan in raw:
        key = key_of(scan)
        if scan.split != "train" or not scan.healthy or scan.sequence != sequence:
            continue
        found = []
        if record := records.get(key):
            with failures.catching(scan.subject, scan.image):
                volume = read_volume(out / record.image)
                found = [(volume.array, read_mask(out / record.brain_mask, like=volume))]
            if not found:
                del records[key]
        yield from found

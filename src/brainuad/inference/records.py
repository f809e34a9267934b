"""The record of each scan in the output folder, which says that it is done."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from brainuad.cohorts.manifest import Scan
from brainuad.cohorts.scans import RawScan, file_stamp
from brainuad.errors import InputError
from brainuad.inference.find_scans import Wanted
from brainuad.machine.files import sizes
from brainuad.machine.read import read_json

RECORDS = "records"

FILES = ("anomaly", "mask", "reconstruction", "uncertainty")
"""Kinds of file that the record lists."""


def record_path(out: Path, wanted: Wanted) -> Path:
    """Return the path of a scan's record."""
    return out / RECORDS / f"{wanted.scan_id}.json"


def read_done(out: Path, wanted: Wanted, stamp: Callable[[Wanted], str]) -> bool:
    """Return whether a scan was already predicted in this way from this file, with all its files.

    Args:
        out: output folder.
        wanted: the scan.
        stamp: returns the fingerprint of a scan as it would be predicted now; called only if there
            is a record.
    """
    path = record_path(out, wanted)
    if not path.is_file():
        return False
    try:
        record = read_json(path)
        row = record["subject"]
        files = [row[kind] for kind in FILES if row.get(kind)]
        there = bool(files) and all((out / name).is_file() for name in files)
        return there and record["stamp"] == stamp(wanted)
    except (InputError, KeyError, TypeError, AttributeError):
        # Damaged: it is made anew.
        return False


def scan_stamp(scan: RawScan | Scan) -> str:
    """A scan's row, and its files' sizes and times."""
    if isinstance(scan, RawScan):
        return file_stamp(scan)
    paths = [path for path in asdict(scan).values() if isinstance(path, Path)]
    return "\n".join([repr(scan), *sizes(paths)])

"""The record of each scan in the output folder; a scan with a record is done."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from brainuad.cohorts.manifest import Scan
from brainuad.cohorts.scans import RawScan, file_stamp
from brainuad.errors import InputError
from brainuad.inference.find_scans import Wanted
from brainuad.machine.files import sizes
from brainuad.machine.read import read_json
from brainuad.machine.text import say

Kind = TypeVar("Kind")

RECORDS = "records"

FILES = ("anomaly", "mask", "reconstruction", "uncertainty")
"""Kinds of file that the record names, and without which a scan is not done."""

SEGMENTATION = "segmentation"
"""Kind of the DICOM object; it may be moved away, into a PACS."""


def record_path(out: Path, wanted: Wanted) -> Path:
    """Return the place of the record of a scan."""
    return out / RECORDS / f"{wanted.scan_id}.json"


def read_all(paths: Sequence[Path], parse: Callable[[Any], Kind], remedy: str) -> list[Kind]:
    """Return what `parse` makes of each record; say which one it cannot read, and leave it out.

    Such a record is another command's: this one has made its own damaged records anew.

    Args:
        paths: JSON files.
        parse: takes the content; may raise what a missing or wrong value raises.
        remedy: what to do about a damaged record.
    """
    found = []
    for path in paths:
        try:
            found.append(parse(read_json(path)))
        except (InputError, KeyError, TypeError, ValueError, AttributeError):
            say(f"warning: {path}: not a record; {remedy}")
    return found


def read_done(out: Path, wanted: Wanted, stamp: Callable[[Wanted], str]) -> bool:
    """Return whether a scan was done with this stamp, and its files are there.

    Args:
        out: output folder.
        wanted: the scan.
        stamp: returns the stamp of a scan now; called only where there is a record.
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
        # A damaged record is made anew.
        return False


def scan_stamp(scan: RawScan | Scan) -> str:
    """Return a scan's row, and the sizes and times of its files, as text."""
    if isinstance(scan, RawScan):
        return file_stamp(scan)
    paths = [path for path in asdict(scan).values() if isinstance(path, Path)]
    return "\n".join([repr(scan), *sizes(paths)])

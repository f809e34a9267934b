"""Records of a cohort folder: their paths, reading and writing."""

from pathlib import Path

from brainuad.cohorts.manifest import Cohort, Scan
from brainuad.cohorts.scans import RawScan
from brainuad.errors import InputError
from brainuad.machine.files import write_json
from brainuad.machine.read import read_json
from brainuad.records.scan import ScanRecord, is_record

Key = tuple[str, str]
"""Subject and sequence."""

Records = dict[Key, ScanRecord]


def key_of(scan: RawScan | Scan | ScanRecord) -> Key:
    """Return subject and sequence."""
    return scan.subject, scan.sequence


def record_path(scan: RawScan | Scan | ScanRecord, out: Path) -> Path:
    """Return where a cohort folder keeps the record of a scan."""
    return out / "scans" / f"{scan.subject}_{scan.sequence}.json"


def normalised_path(scan: RawScan, out: Path) -> Path:
    """Return where a cohort folder keeps the prepared scan."""
    return out / "scans" / f"{scan.subject}_{scan.sequence}.nii.gz"


def read_record(path: Path) -> ScanRecord:
    """Read a record.

    Raises:
        InputError: missing, damaged, or not a record.
    """
    return ScanRecord.from_json(read_json(path, "prepare the cohort again"), str(path))


def write_record(record: ScanRecord, out: Path) -> None:
    """Write a record into a cohort folder, unless the same one is there."""
    path = record_path(record, out)
    try:
        same = read_record(path) == record
    except InputError:
        same = False
    if not same:
        write_json(path, record.to_json())


def record_at(path: Path) -> ScanRecord | None:
    """Read a record; None where there is none.

    Raises:
        InputError: damaged.
    """
    if not path.is_file():
        return None
    values = read_json(path, "prepare the cohort again", kind=None)
    # Others keep JSON files beside their scans, too.
    if not isinstance(values, dict) or not is_record(values):
        return None
    return ScanRecord.from_json(values, str(path))


def record_of(cohort: Cohort, scan: Scan) -> ScanRecord | None:
    """Return the record of a scan's first channel; None where the cohort keeps none."""
    return record_at(record_path(scan.rows[0], cohort.root))

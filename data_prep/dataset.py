"""What is known of a data set, and the CSV that its scans are written to."""

import csv
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from brainuad.cohorts.scans import RawScan
from brainuad.errors import InputError
from brainuad.machine.files import write_text
from brainuad.machine.read import read_table

COLUMNS = tuple(item.name for item in fields(RawScan))
_PATHS = ("image", "brain_mask", "lesion_mask")


@dataclass(frozen=True)
class Download:
    """A file that may be fetched without registration.

    Attributes:
        url: https.
        name: of the file to write.
        sha256: hexadecimal; None when not known.
        size: in bytes; None when not known.
    """

    url: str
    name: str
    sha256: str | None = None
    size: int | None = None


@dataclass(frozen=True)
class Dataset:
    """A public data set.

    Attributes:
        name: as on the command line.
        title: in full.
        pathology: what the patients have, or `healthy`.
        sequences: that it holds.
        homepage: where to read on.
        licence: of the data.
        access: how to get it.
        citation: what to cite.
        split: what the literature uses.
        layout: the official folder layout, in one line.
        find: the unpacked download's folder, then the options by name, to its scans.
        options: keyword of `find` to what it does.
        files: to be fetched by `python -m data_prep download`; empty when one has to register.
    """

    name: str
    title: str
    pathology: str
    sequences: tuple[str, ...]
    homepage: str
    licence: str
    access: str
    citation: str
    split: str
    layout: str
    find: Callable[..., list[RawScan]]
    options: dict[str, str] = field(default_factory=dict)
    files: tuple[Download, ...] = ()


def write_rows(scans: Sequence[RawScan], csv_path: Path) -> None:
    """Writes the CSV that `brainuad.cohorts.find.find_raw` reads back as the same scans.

    Paths below the CSV's folder are written relative to it, so that both can be moved together;
    the others absolute.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    # Not resolved: a folder of links is a common way to arrange data, and its names count.
    folder = Path(os.path.abspath(csv_path.parent))
    for scan in scans:
        row = {name: getattr(scan, name) for name in COLUMNS}
        row["healthy"] = "true" if scan.healthy else "false"
        for name in _PATHS:
            row[name] = _portable(row[name], folder) if row[name] else ""
        writer.writerow(row)
    write_text(csv_path, text.getvalue())


def with_splits(scans: Sequence[RawScan], csv_path: Path) -> list[RawScan]:
    """Sets the splits that a CSV with the columns `subject` and `split` gives.

    Subjects that it does not name keep an empty split and are drawn later.

    Raises:
        InputError: not such a file, an unknown split, or it names none of the subjects.
    """
    if not csv_path.is_file():
        raise InputError(f"{csv_path}: no such file; give a CSV with columns subject and split")
    header, rows = read_table(csv_path)
    if not {"subject", "split"} <= set(header):
        raise InputError(f"{csv_path}: columns are {header}; need subject and split")
    splits = {row["subject"].strip(): row["split"].strip() for row in rows}
    wrong = sorted(set(splits.values()) - {"train", "val", "test", ""})
    if wrong:
        raise InputError(f"{csv_path}: split is {wrong[0]!r}; write train, val, test or nothing")
    if not splits.keys() & {scan.subject for scan in scans}:
        raise InputError(
            f"{csv_path}: names none of the subjects; they look like {scans[0].subject!r}"
        )
    return [replace(scan, split=splits.get(scan.subject, scan.split)) for scan in scans]


def _portable(path: Path, folder: Path) -> str:
    absolute = Path(os.path.abspath(path))
    if absolute.is_relative_to(folder):
        return absolute.relative_to(folder).as_posix()
    return str(absolute)

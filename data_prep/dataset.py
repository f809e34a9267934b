"""Description of a data set, and the CSV that its scans are written to."""

import csv
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TypeVar

from brainuad.cohorts.scans import RawScan
from brainuad.errors import InputError
from brainuad.machine.files import write_text
from brainuad.machine.read import read_table

from .slices import SliceRow

AnyRow = TypeVar("AnyRow", RawScan, SliceRow)
"""A volume for `brainuad-prepare`, or a slice for `data=slices`."""


@dataclass(frozen=True)
class Download:
    """A file that may be fetched without registration.

    Attributes:
        url: https.
        name: name of the file to write.
        sha256: hexadecimal; None when not known, which no registered file may be.
        size: number of bytes; None when not known.
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
        title: full title.
        pathology: disease of the patients, or `healthy`.
        sequences: that it holds.
        homepage: page with more information.
        licence: licence of the data.
        access: instructions to get it.
        citation: paper to cite.
        split: split of the literature.
        layout: the official folder layout, in one line.
        find: the unpacked download's folder, then the options by name, to its scans.
        options: keyword of `find` to what it does.
        files: to be fetched by `python -m data_prep download`; empty when one has to register, or
            where no hash is known.
        slices: whether the rows are slices for `data=slices`, not volumes for `brainuad-prepare`.
        traps: warnings for a reader of scores on it, one line each.
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
    find: Callable[..., list[RawScan]] | Callable[..., list[SliceRow]]
    options: dict[str, str] = field(default_factory=dict)
    files: tuple[Download, ...] = ()
    slices: bool = False
    traps: tuple[str, ...] = ()


def write_rows(scans: Sequence[RawScan] | Sequence[SliceRow], csv_path: Path) -> None:
    """Write a CSV whose columns are the fields of the rows; None is an empty cell.

    `brainuad.cohorts.find.find_raw` reads volumes back as the same scans, `data=slices` slices.
    Paths below the CSV's folder are written relative to it, so that both can be moved together;
    the others absolute.
    """
    text = io.StringIO()
    kind = type(scans[0]) if scans else RawScan
    writer = csv.DictWriter(text, [item.name for item in fields(kind)], lineterminator="\n")
    writer.writeheader()
    # Not resolved: a folder of links is a common way to arrange data, and its names count.
    folder = Path(os.path.abspath(csv_path.parent))
    for scan in scans:
        writer.writerow(
            {item.name: _cell(getattr(scan, item.name), folder) for item in fields(kind)}
        )
    write_text(csv_path, text.getvalue())


def has_label(scan: RawScan | SliceRow) -> bool:
    """Return whether a row names a lesion label."""
    return scan.lesion_mask is not None or getattr(scan, "lesion_channel", None) is not None


def person_of(scan: RawScan | SliceRow) -> str:
    """The unit of splits: a volume's subject, a slice's person."""
    return scan.person if isinstance(scan, SliceRow) else scan.subject


def with_splits(scans: Sequence[AnyRow], csv_path: Path) -> list[AnyRow]:
    """Set the splits that a CSV with the columns `subject` and `split` gives.

    Of slices, `subject` names the person. Those that it does not name keep the split they have.

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
    if not splits.keys() & {person_of(scan) for scan in scans}:
        raise InputError(
            f"{csv_path}: names none of the subjects; they look like {person_of(scans[0])!r}"
        )
    return [replace(scan, split=splits.get(person_of(scan), scan.split)) for scan in scans]


def _cell(value: object, folder: Path) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Path):
        return _portable(value, folder)
    return "" if value is None else str(value)


def _portable(path: Path, folder: Path) -> str:
    absolute = Path(os.path.abspath(path))
    if absolute.is_relative_to(folder):
        return absolute.relative_to(folder).as_posix()
    return str(absolute)

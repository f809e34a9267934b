"""The cohort folder: `manifest.csv` (one row per scan) and `cohort.json` (how it was made).

The stages of the pipe meet only here, so the columns are the contract; paths are relative to the
folder (absolute ones are kept as they are).
"""

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from brainuad.cohorts.names import check_name, check_names
from brainuad.cohorts.split_rules import check_scans
from brainuad.cohorts.words import canonical
from brainuad.errors import InputError
from brainuad.machine.files import write_json, write_text
from brainuad.machine.read import read_json, read_table
from brainuad.records.cohort import CohortRecord
from brainuad.settings.plain import plain
from brainuad.types import Space

MANIFEST = "manifest.csv"
INFO = "cohort.json"


@dataclass(frozen=True)
class Scan:
    """One acquisition of one subject.

    Attributes:
        subject: person, or a slice of one; part of the files' names.
        sequence: `T1w`, `T2w`, `FLAIR`, ….
        image: prepared volume: RAS, brain-extracted, intensities in [0, 1].
        brain_mask: on the grid of `image`.
        healthy: no lesion; only such scans are trained on.
        split: `train`, `val` or `test`.
        lesion_mask: on the grid of `image`; None when there is no label.
        site: site of the acquisition.
        pathology: `tumour`, `ms`, `stroke`, …; empty when healthy or unknown.
        contrast: mean over the lesion of (image - healthy twin) in standard deviations of the
            twin's brain; None when unknown.
        twin: the lesion-free image of a synthetic case, on the grid of `image`.
        native_image: the scan as it came; None when it is `image` itself.
        native_lesion_mask: the untouched label, on the grid of `native_image`.
        transform: the way from the prepared world to the native one: a JSON file of records
            (`brainuad.volumes.native_space`), or a text file with a `(4, 4)` matrix, mm; None when
            both share their world space.
        warp: displacement field before a text file's matrix, its inverse beside it, in cohorts of
            version 0.1; None otherwise.
        channels: rows of the subject's sequences where they are the channels of one image
            (`brainuad.cohorts.channels`), the first of which is this one; no column.
        person: unit of every split and of the statistics; empty where it is the subject.
        view: file of each channel that a method sees in place of `images`, such as a tissue map
            (`brainuad.preparation.model_input`); empty where it sees the images. No column.
    """

    subject: str
    sequence: str
    image: Path
    brain_mask: Path
    healthy: bool
    split: str
    lesion_mask: Path | None = None
    site: str = ""
    pathology: str = ""
    contrast: float | None = None
    twin: Path | None = None
    native_image: Path | None = None
    native_lesion_mask: Path | None = None
    transform: Path | None = None
    warp: Path | None = None
    channels: tuple["Scan", ...] = field(default=(), repr=False)
    person: str = ""
    view: tuple[Path, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        """Refuse names that cannot name a file: every scan's do."""
        check_names(self)
        if self.person:
            check_name(self.person, "person", self.image)

    @property
    def who(self) -> str:
        """The person."""
        return self.person or self.subject

    @property
    def rows(self) -> tuple["Scan", ...]:
        """The row of each channel; the scan itself where it has one."""
        return self.channels or (self,)

    @property
    def images(self) -> tuple[Path, ...]:
        """The prepared volume of each channel."""
        return tuple(row.image for row in self.rows)

    @property
    def seen(self) -> tuple[Path, ...]:
        """The volume of each channel that a method sees."""
        return self.view or self.images

    @property
    def space(self) -> Space:
        """The way from `image` to `native_image`.

        Raises:
            InputError: its file is unreadable.
        """
        # A manifest is read without NumPy.
        from brainuad.volumes.native_space import read_way

        return Space(self.native_image, read_way(self.transform, self.warp))


COLUMNS = tuple(entry.name for entry in fields(Scan) if entry.name not in ("channels", "view"))
_REQUIRED = ("subject", "sequence", "image", "brain_mask", "healthy", "split")
_PATHS = tuple(entry.name for entry in fields(Scan) if "Path" in str(entry.type))


@dataclass(frozen=True)
class Cohort:
    """A cohort folder in memory.

    Attributes:
        root: folder of the cohort.
        scans: rows of the manifest, paths absolute.
        info: contents of `cohort.json`, see `record`.
    """

    root: Path
    scans: tuple[Scan, ...]
    info: dict[str, Any]

    @property
    def name(self) -> str:
        """The cohort's name, the folder's where `cohort.json` gives none."""
        return self.record.name or self.root.name

    @cached_property
    def record(self) -> CohortRecord:
        """The part of `cohort.json` that commands read.

        Raises:
            InputError: a value of another type.
        """
        return CohortRecord.from_json(self.info, str(self.root / INFO))

    def select(
        self,
        split: str,
        sequence: str | Sequence[str],
        healthy: bool | None = None,
        allow_empty: bool = False,
    ) -> tuple[Scan, ...]:
        """Return scans of one split and sequence, or several as channels, in the manifest's order.

        Raises:
            InputError: there are none, unless `allow_empty`.
        """
        sequence = joined(sequence)
        found = tuple(
            scan
            for scan in self.scans
            if scan.split == split
            and canonical(scan.sequence) == sequence
            and (healthy is None or scan.healthy == healthy)
        )
        if not found and not allow_empty:
            kind = {None: "", True: "healthy ", False: "pathological "}[healthy]
            counts = Counter(f"{scan.sequence} {scan.split}" for scan in self.scans)
            have = ", ".join(f"{count} {key}" for key, count in sorted(counts.items()))
            # The source, where the cohort is still to be prepared.
            where = self.root / MANIFEST
            raise InputError(
                f"{where if where.is_file() else self.root}: no {kind}{sequence} scan in split "
                f"'{split}' (found: {have or 'nothing'}); set data.sequence, or name the "
                "splits in a column `split`: train, val, test"
            )
        return found

    def identity(self) -> dict[str, str]:
        """Name, absolute path and split hash: what a run's provenance keeps of its cohort."""
        path = str(self.root.absolute())
        return {"name": self.name, "path": path, "split_hash": self.split_hash()}

    def split_hash(self) -> str:
        """SHA-256 of the (subject, split) pairs: equal for equal splits."""
        pairs = sorted({(scan.subject, scan.split) for scan in self.scans})
        return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()


def joined(sequence: str | Sequence[str]) -> str:
    """Return one name for the sequences of a scan: `T1w`, or `T1w+FLAIR` for two channels."""
    return canonical(sequence) if isinstance(sequence, str) else "+".join(map(canonical, sequence))


def read_cohort(root: Path) -> Cohort:
    """Read and check a cohort folder.

    Raises:
        InputError: no manifest, missing or unknown columns, bad values, a subject in two splits,
            a scan listed twice, or a scan with a lesion in the training split.
    """
    manifest = root / MANIFEST
    if not manifest.is_file():
        raise InputError(f"{manifest}: no such file; make a cohort with brainuad-prepare")
    header, rows = read_table(manifest)
    missing = [name for name in _REQUIRED if name not in header]
    unknown = [name for name in header if name not in COLUMNS]
    if missing or unknown:
        raise InputError(
            f"{manifest}: missing columns {missing}, unknown columns {unknown}; "
            f"known are {', '.join(COLUMNS)}"
        )
    scans = tuple(_parse(row, root, f"{manifest} line {i}") for i, row in enumerate(rows, start=2))
    check_scans(scans, manifest)
    info_path = root / INFO
    info = read_json(info_path, "make the cohort again") if info_path.is_file() else {}
    try:
        info = plain(info)
    except ValueError as error:
        raise InputError(f"{info_path}: is no plain data ({error}); do not use it") from None
    return Cohort(root, scans, info)


def write_cohort(root: Path, scans: Iterable[Scan], info: dict[str, Any]) -> Cohort:
    """Check and write `cohort.json`, then `manifest.csv`, each atomically.

    The manifest comes last: a folder that has one is complete.
    """
    scans = tuple(scans)
    check_scans(scans, root / MANIFEST)
    write_json(root / INFO, info)
    text = io.StringIO()
    # Where every subject is a person, the manifest is as it was before there was the column.
    known = [name for name in COLUMNS if name != "person" or any(scan.person for scan in scans)]
    writer = csv.DictWriter(text, known, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(_format(scan, root) for scan in scans)
    write_text(root / MANIFEST, text.getvalue())
    return Cohort(root, scans, info)


def _parse(row: dict[str, str], root: Path, where: str) -> Scan:
    values: dict[str, Any] = {
        name: (text or "").strip() for name, text in row.items() if name in COLUMNS
    }
    for name in _REQUIRED:
        if not values[name]:
            raise InputError(f"{where}: column {name} is empty; fill it in")
    healthy = values["healthy"].lower()
    if healthy not in ("true", "false"):
        raise InputError(f"{where}: healthy is '{values['healthy']}'; write true or false")
    values["healthy"] = healthy == "true"
    for name in _PATHS:
        if name in values:
            values[name] = root / values[name] if values[name] else None
    if contrast := values.pop("contrast", ""):
        try:
            values["contrast"] = float(contrast)
        except ValueError:
            raise InputError(f"{where}: contrast is '{contrast}'; write a number") from None
    try:
        return Scan(**values)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _format(scan: Scan, root: Path) -> dict[str, str]:
    row = {}
    for name in COLUMNS:
        value = getattr(scan, name)
        if isinstance(value, Path):
            value = value.relative_to(root) if value.is_relative_to(root) else value
        elif isinstance(value, bool):
            value = str(value).lower()
        elif isinstance(value, float):
            value = repr(value)
        row[name] = "" if value is None else str(value)
    return row

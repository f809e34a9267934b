"""Scans to predict: those of the model's sequence among the user's files."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from brainuad.cohorts.channels import by_subject, combined
from brainuad.cohorts.filename import read_name, stem_of
from brainuad.cohorts.find import find_all
from brainuad.cohorts.find_slices import find_slices
from brainuad.cohorts.manifest import MANIFEST, Cohort, Scan, joined, read_cohort
from brainuad.cohorts.names import check_name, file_name
from brainuad.cohorts.scans import Found, RawScan
from brainuad.cohorts.words import canonical
from brainuad.errors import InputError

TAKEN = (
    *("records", "sources", "viewer", "prepared", "index.html", "subjects.csv", "findings.csv"),
    *("dataset_description.json", "left_aside.csv"),
    *("baseline", "changes", "changes.html", "changes.csv", "pairs.csv"),
)
"""Names in OUT that are no folder of a scan."""

MASKS = {"mask": "lesion", "brain": "brain", "new": "new", "grown": "grown"}
"""Kind of mask to its name in BIDS."""


@dataclass(frozen=True)
class Wanted:
    """A scan to predict.

    Attributes:
        scan_id: unique name in tables.
        subject: subject of the scan.
        scan: raw scan, or prepared scan of a cohort folder; of several channels the first.
        folder: folder for its files, relative to the output folder.
        bids: True names its files as BIDS derivatives.
        others: raw scans of the further channels.
        lacking: reason why it cannot be predicted; empty for none.
    """

    scan_id: str
    subject: str
    scan: RawScan | Scan
    folder: str
    bids: bool = False
    others: tuple[RawScan, ...] = ()
    lacking: str = ""

    @property
    def scans(self) -> tuple[RawScan | Scan, ...]:
        """The scan of each channel."""
        return self.scan.rows if isinstance(self.scan, Scan) else (self.scan, *self.others)

    def file(self, kind: str, ending: str = "") -> str:
        """Return the path of a file, relative to the output folder.

        Args:
            kind: `anomaly`, `reconstruction`, `uncertainty`, `findings`, `segmentation`, `scan` or
                one of `MASKS`.
            ending: ending of its name; empty for the kind's own, `dcm` or `nii.gz`.
        """
        ending = ending or ("dcm" if kind == "segmentation" else "nii.gz")
        if not self.bids:
            return f"{self.folder}/{self.scan_id}_{kind}.{ending}"
        entities, _, suffix = self.scan_id.rpartition("_")
        name = f"desc-{kind}_{suffix}"
        if kind in MASKS:
            # A mask has no sequence as its suffix; two scans of a session would share the name.
            name = f"label-{MASKS[kind]}_desc-{suffix}_mask"
        return f"{self.folder}/{entities}_{name}.{ending}"


@dataclass(frozen=True)
class Source:
    """Scans found at the place that the user gave.

    Attributes:
        kind: kind of place, in words.
        wanted: scans of the model's sequence.
        aside: sequence to the number of scans left aside.
        assumed: number of scans of unknown sequence, taken for the model's.
        trained_on: number of scans left aside because the model was trained on them.
        cohort: the prepared cohort; None for raw scans.
        found: raw scans with an account of every file; None for a cohort.
    """

    kind: str
    wanted: tuple[Wanted, ...]
    aside: Counter[str]
    assumed: int = 0
    trained_on: int = 0
    cohort: Cohort | None = None
    found: Found | None = None


def find_wanted(
    source: Path,
    sequence: str | Sequence[str],
    out: Path,
    unknown: str | None = None,
    trained_on: Sequence[str] = (),
    split_hash: str | None = None,
    pixel_mm: float | None = None,
    listed: Found | None = None,
) -> Source:
    """Return the scans of a model's sequence.

    Args:
        source: a cohort folder, or anything that `find_all` takes.
        sequence: sequence of the model, or one per channel.
        out: output folder; its files are no input.
        unknown: sequence of scans whose name does not state it; None takes them for the model's.
        trained_on: subjects that the model was trained on.
        split_hash: split hash of their cohort; other cohorts may use the same names.
        pixel_mm: edge of a pixel of unknown size, for a model of slices, which takes 2D images;
            None for a model of volumes.
        listed: list by `sequences_in` of the same source and folder; None to list it here.

    Raises:
        InputError: nothing there, or no scan of the model's sequence.
    """
    if not source.exists():
        raise InputError(f"{source}: no such file or folder; check the path")
    sequences = (sequence,) if isinstance(sequence, str) else tuple(sequence)
    for name in sequences:
        check_name(name, "sequence", "the model's card")
    if (source / MANIFEST).is_file():
        found = _from_cohort(source, sequences, trained_on, split_hash)
    else:
        if listed is None:
            listed = _listed(source, sequences, out, unknown or "", pixel_mm)
        found = _from_raw(source, sequences, listed)
    if not found.wanted:
        sequence = joined(sequences)
        have = ", ".join(f"{count} {name}" for name, count in sorted(found.aside.items()))
        seen = " that the model was not trained on" if found.trained_on else ""
        raise InputError(
            f"{source}: no {sequence} scan{seen}, which this model is for (found: "
            f"{have or 'nothing else'}); use a model of that sequence, or list the scans in a CSV "
            f"with sequence={sequence} if their names mislead"
        )
    return found


def sequences_in(source: Path, out: Path) -> tuple[Counter[str], Found | None]:
    """Return the number of scans of each sequence, and the list of raw scans.

    The sequence of a scan whose name does not state it is empty.

    Args:
        source: source as of `find_wanted`.
        out: output folder; its files are no input.

    Raises:
        InputError: nothing there, or scans of several sequences in a cohort folder, whose names
            would be those of the same files.
    """
    if not source.exists():
        raise InputError(f"{source}: no such file or folder; check the path")
    if (source / MANIFEST).is_file():
        counts = Counter(canonical(scan.sequence) for scan in read_cohort(source).scans)
        if len(counts) > 1:
            raise InputError(
                f"{source}: has scans of {', '.join(sorted(counts))}; say --sequence, and give "
                "each a folder of its own"
            )
        return counts, None
    return counted(find_all(source, every=True, out=out))


def counted(listed: Found) -> tuple[Counter[str], Found]:
    """Return the number of scans of each sequence in a list, and the list."""
    return Counter(canonical(scan.sequence) for scan in listed.scans), listed


def _from_cohort(
    source: Path, sequences: tuple[str, ...], trained_on: Sequence[str], split_hash: str | None
) -> Source:
    cohort = read_cohort(source)
    seen = set(trained_on) if cohort.split_hash() == split_hash else set()
    own = list(by_subject(cohort.scans, sequences))
    wanted = tuple(
        Wanted(name := _free(subject := rows[0].subject), subject, _whole(rows), name, lacking=why)
        for rows, why in own
        if rows[0].who not in seen
    )
    aside = Counter(scan.sequence for scan in cohort.scans if scan.sequence not in sequences)
    left = len(own) - len(wanted)
    return Source("a prepared cohort", wanted, aside, trained_on=left, cohort=cohort)


def _whole(rows: tuple[Scan, ...]) -> Scan:
    return combined(rows) if len(rows) > 1 else rows[0]


def _listed(
    source: Path, sequences: tuple[str, ...], out: Path, unknown: str, pixel_mm: float | None
) -> Found:
    if pixel_mm is None:
        return find_all(source, unknown, every=True, also=sequences, out=out)
    return find_slices(source, unknown, pixel_mm, out)


def _from_raw(source: Path, sequences: tuple[str, ...], listed: Found) -> Source:
    # Lists and models may use t2 or T2w.
    raw = [replace(scan, sequence=canonical(scan.sequence)) for scan in listed.scans]
    called = [canonical(sequence) for sequence in sequences]
    # A scan of unknown sequence cannot be assigned to one of several channels.
    ours = (*called, "") if len(called) == 1 else tuple(called)
    own = [scan for scan in raw if scan.sequence in ours]
    aside = Counter(scan.sequence or "unnamed" for scan in raw if scan.sequence not in ours)
    found: list[tuple[tuple[RawScan, ...], str]] = [((scan,), "") for scan in own]
    if len(called) > 1:
        found = list(by_subject(own, called))
    first = [rows[0] for rows, _ in found]
    names = dict(zip(called, sequences, strict=True)) | {"": sequences[0]}
    wanted = tuple(
        _wanted(rows, scan_id, names, listed.bids, reason)
        for (rows, reason), scan_id in zip(found, _ids(first, source, listed.bids), strict=True)
    )
    assumed = sum(scan.sequence == "" for scan in own)
    return Source(listed.kind, wanted, aside, assumed=assumed, found=listed)


def _wanted(
    rows: tuple[RawScan, ...], scan_id: str, names: dict[str, str], bids: bool, lacking: str
) -> Wanted:
    # The preparation names its files by subject and sequence.
    changes: dict[str, Any] = {"subject": scan_id, "healthy": True, "lesion_mask": None}
    raw, *others = (
        replace(scan, sequence=names[scan.sequence], split="test", **changes) for scan in rows
    )
    folder = scan_id
    name = read_name(stem_of(raw.image))
    if bids and name.subject.startswith("sub-"):
        folder = "/".join(part for part in (name.subject, name.session, "anat") if part)
    return Wanted(scan_id, rows[0].subject, raw, folder, bids, tuple(others), lacking)


def _ids(scans: Sequence[RawScan], source: Path, bids: bool) -> list[str]:
    """Return a unique name per scan that can be part of a file name."""
    names = [_plain("_".join(filter(None, (s.subject, s.sequence)))) for s in scans]
    if bids:
        names = [file_name(stem_of(scan.image)) for scan in scans]
    count = Counter(names)
    found: dict[str, None] = {}
    # Next number to try for each name: counting anew for each scan would take quadratic time.
    numbers: dict[str, int] = {}
    for short, scan in zip(names, scans, strict=True):
        name = short
        if count[name] > 1 and scan.image.is_relative_to(source):
            path = scan.image.relative_to(source)
            name = _plain("_".join([*path.parts[:-1], stem_of(path)]))
        own, number = name, numbers.get(name, 2)
        while own in found:
            own, number = f"{name}-{number}", number + 1
        numbers[name] = number
        found[own] = None
    return list(found)


def _plain(name: str) -> str:
    return _free(file_name(re.sub(r"[^\w.+-]+", "_", name).lstrip(".") or "scan"))


def _free(name: str) -> str:
    """Return a name that none of `TAKEN` has."""
    return f"{name}-scan" if name.lower() in TAKEN else name

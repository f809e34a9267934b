"""Finds raw scans in what people have: a file, a folder, a CSV, a BIDS dataset, DICOM folders."""

import re
from pathlib import Path

from brainuad.cohorts.find import SEQUENCES, RawScan, below, find_scans, stem_of
from brainuad.cohorts.names import file_name
from brainuad.errors import InputError

_BIDS = re.compile(
    r"^(sub-[A-Za-z0-9]+)(?:_(ses-[A-Za-z0-9]+))?(?:_[a-z]+-[A-Za-z0-9]+)*_([A-Za-z0-9]+)\.nii(?:\.gz)?$"
)
_SUBJECT = re.compile(r"^sub-[A-Za-z0-9]+")
_SESSION = re.compile(r"_(ses-[A-Za-z0-9]+)")
BIDS_DEPTH = 3
"""Folders between a subject's and `anat`; the standard has one at most."""

_SUFFIXES = {"T1w": "T1w", "T2w": "T2w", "FLAIR": "FLAIR", "PDw": "PDw", "T2star": "T2star"}


def find_raw(source: Path, sequence: str, every: bool = False) -> list[RawScan]:
    """List the scans of a source.

    Args:
        source: one NIfTI file; a CSV or plain folder as `find_scans` takes them; a BIDS dataset
            (`dataset_description.json` or `sub-*` folders), of which the first session of a
            subject and the first run of a sequence count; or a folder of DICOM series folders.
        sequence: sequence of scans whose name does not state it.
        every: also list further sessions and runs, and several scans of one subject and sequence.

    Raises:
        InputError: nothing there, or names that cannot be understood.
    """
    if source.is_file() and source.name.endswith((".nii", ".nii.gz")):
        name = file_name(stem_of(source))
        return [RawScan(subject=name, sequence=sequence, image=source, healthy=True, split="test")]
    if not source.is_dir():
        return find_scans(source, sequence)
    if is_bids(source):
        return _from_bids(source, every)
    if not any(name.endswith((".nii", ".nii.gz")) for _, name in below(source)):
        return _from_dicom(source, sequence, every)
    return find_scans(source, sequence, every)


def is_bids(source: Path) -> bool:
    """Whether a folder is a BIDS dataset."""
    return (source / "dataset_description.json").is_file() or any(source.glob("sub-*/"))


def bids_parts(name: str) -> tuple[str, str, str] | None:
    """Subject, session (may be empty) and suffix of a BIDS file name; None for others."""
    match = _BIDS.match(name)
    return (match[1], match[2] or "", match[3]) if match else None


def _from_bids(source: Path, every: bool) -> list[RawScan]:
    lesions = _bids_lesions(source / "derivatives")
    found: dict[tuple[str, ...], RawScan] = {}
    sessions: dict[str, str] = {}
    # A bounded depth: below a subject there is a session at most.
    patterns = [f"sub-*/{'*/' * depth}anat/*.nii*" for depth in range(BIDS_DEPTH + 1)]
    for path in sorted({path for pattern in patterns for path in source.glob(pattern)}):
        parts = bids_parts(path.name)
        if parts is None or parts[2] not in _SUFFIXES:
            continue
        subject, session, suffix = parts
        if sessions.setdefault(subject, session) != session and not every:
            continue
        sequence = _SUFFIXES[suffix]
        key = (subject, sequence, path.name) if every else (subject, sequence)
        lesion = lesions.get((subject, session))
        found.setdefault(
            key,
            RawScan(
                subject=subject,
                sequence=sequence,
                image=path,
                healthy=lesion is None,
                lesion_mask=lesion,
            ),
        )
    if not found:
        raise InputError(
            f"{source}: no sub-*/[ses-*/]anat/*_{{{','.join(_SUFFIXES)}}}.nii.gz in this BIDS "
            "dataset; list the scans in a CSV instead"
        )
    return list(found.values())


def _bids_lesions(derivatives: Path) -> dict[tuple[str, str], Path]:
    """The first lesion mask of each subject and session.

    The session "" stands for all of a subject's masks, whatever their session.
    """
    masks: dict[tuple[str, str], Path] = {}
    paths = (
        Path(where, name)
        for where, name in below(derivatives)
        if "_mask.nii" in name and "lesion" in name
    )
    for path in sorted(paths):
        if subject := _SUBJECT.match(path.name):
            masks.setdefault((subject[0], ""), path)
            if session := _SESSION.search(path.name):
                masks.setdefault((subject[0], session[1]), path)
    return masks


def _from_dicom(source: Path, sequence: str, every: bool) -> list[RawScan]:
    # SimpleITK is imported for DICOM alone.
    from brainuad.volumes.read import first_dicom_file, series_description

    folders = sorted(path for path in (Path(*one) for one in below(source)) if path.is_dir())
    scans = []
    for folder in [source, *folders]:
        # One look at the headers of a folder's files; two would take twice as long.
        files = any(path.is_file() for path in folder.iterdir())
        first = first_dicom_file(folder) if files else None
        if first is None:
            continue
        named = _sequence(folder.name) or _sequence(series_description(first)) or sequence
        parts = folder.relative_to(source).parts
        # SUBJECT/SERIES or just SERIES; a folder named by its sequence belongs to its parent.
        subject = file_name(parts[0] if parts else source.name)
        scans.append(RawScan(subject=subject, sequence=named, image=folder, healthy=True))
    if not scans:
        raise InputError(f"{source}: neither NIfTI files nor DICOM series found; check the path")
    seen: dict[tuple[str, str], Path] = {}
    for scan in scans:
        key = scan.subject, scan.sequence
        if key in seen and not every:
            raise InputError(
                f"{scan.image}: a second {scan.sequence} series of subject {scan.subject} beside "
                f"{seen[key]}; name the folders by their sequence or list the scans in a CSV"
            )
        seen[key] = scan.image
    return scans


def _sequence(name: str) -> str:
    """The sequence that a free text names, or empty."""
    for word in re.split(r"[^a-z0-9]+", name.lower()):
        if word in SEQUENCES:
            return SEQUENCES[word]
    return ""

"""Choice of scans of a BIDS dataset: participants, sessions and a filter file."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from brainuad.cohorts.filename import read_name, stem_of
from brainuad.cohorts.scans import Found, RawScan
from brainuad.cohorts.tree import natural
from brainuad.errors import InputError
from brainuad.machine.read import read_json

DESCRIPTION = "dataset_description.json"

ENTITIES = {"session": "ses", "acquisition": "acq", "reconstruction": "rec", "run": "run"}
"""Names in a filter file, as PyBIDS and fMRIPrep have them, and their keys in a file's name."""

ANY = "*"
"""Value in a filter file of an entity that must be there, whatever its value; null forbids it."""

FEW = 10
"""Number of names in a message."""

Query = Mapping[str, Any]
"""Name of an entity, or `suffix`, to its value, a list of values, null or `*`."""


def require_dataset(source: Path) -> None:
    """Refuse a folder that does not describe itself as a raw BIDS dataset.

    Raises:
        InputError: no description, or one of a derivative.
    """
    path = source / DESCRIPTION
    remedy = "--skip-bids-validation goes on without it"
    if not path.is_file():
        raise InputError(f"{path}: no such file, so this is no BIDS dataset; {remedy}")
    about = read_json(path, remedy)
    lacking = [name for name in ("Name", "BIDSVersion") if not about.get(name)]
    if lacking:
        raise InputError(f"{path}: has no {' and no '.join(lacking)}; add it, or {remedy}")
    if about.get("DatasetType", "raw") == "derivative":
        raise InputError(f"{path}: this is a derivative; give the raw dataset, or {remedy}")


def participants_in(source: Path) -> list[str]:
    """Return the labels of the participants, without `sub-`."""
    labels = [path.name.removeprefix("sub-") for path in source.glob("sub-*") if path.is_dir()]
    return sorted(labels, key=natural)


def chosen_participants(source: Path, labels: Sequence[str]) -> list[str]:
    """Return the labels without `sub-`, each once; all participants where none are given.

    Raises:
        InputError: no participants, or a label that is not there.
    """
    there = participants_in(source)
    if not there:
        raise InputError(f"{source}: has no folder sub-*; give the root of a BIDS dataset")
    chosen = list(dict.fromkeys(label.removeprefix("sub-") for label in labels))
    if lacking := [label for label in chosen if label not in there]:
        raise InputError(
            f"{source}: has no participant {', '.join(lacking)} (--participant-label); there are "
            f"{_some(there)}"
        )
    return chosen or there


def select(
    found: Found,
    source: Path,
    participants: Collection[str],
    sessions: Sequence[str] = (),
    queries: Sequence[Query] = (),
) -> Found:
    """Return the list with the raw anatomical scans that are asked for.

    Args:
        found: scans of the dataset.
        source: root of the dataset, for messages.
        participants: labels without `sub-`.
        sessions: labels with or without `ses-`; all where none are given.
        queries: a scan that fits one of them is taken; all where none are given.

    Raises:
        InputError: no scan is left.
    """
    wanted = [label.removeprefix("ses-") for label in sessions]
    own = [scan for scan in found.scans if _is_raw(scan) and label_of(scan.image) in participants]
    there = sorted({_entity(scan, "ses") for scan in own} - {""}, key=natural)
    if lacking := [label for label in wanted if label not in there]:
        raise InputError(
            f"{source}: has no session {', '.join(lacking)} (--session-label) with an anatomical "
            f"scan of {_some(sorted(participants))}; there are {_some(there)}"
        )
    kept = [
        scan
        for scan in own
        if (not wanted or _entity(scan, "ses") in wanted)
        and (not queries or any(_fits(scan, query) for query in queries))
    ]
    if not kept:
        names = _some([scan.image.name for scan in own])
        raise InputError(
            f"{source}: no anatomical scan of {_some(sorted(participants))} is asked for (there "
            f"are {names}); change the filter or the session"
        )
    return replace(found, scans=kept)


def label_of(image: Path) -> str:
    """Return the label of a scan's participant, without `sub-`."""
    return read_name(stem_of(image)).subject.removeprefix("sub-")


def read_queries(path: Path) -> list[Query]:
    """Return the queries of a filter file: one, or several by name as in fMRIPrep.

    Raises:
        InputError: unreadable, or another entity than those of `ENTITIES` and `suffix`.
    """
    content = read_json(path, "write it as docs/how-to/bids.md says")
    named = bool(content) and all(isinstance(value, dict) for value in content.values())
    queries = list(content.values()) if named else [content]
    known = ("suffix", *ENTITIES)
    for query in queries:
        if query.pop("datatype", "anat") != "anat":
            raise InputError(f"{path}: datatype is not anat; other images are not predicted")
        if unknown := sorted(set(query) - set(known)):
            raise InputError(f"{path}: has no use for {', '.join(unknown)}; use {', '.join(known)}")
    return queries


def _fits(scan: RawScan, query: Query) -> bool:
    for name, asked in query.items():
        value = stem_of(scan.image).rpartition("_")[2]
        if name != "suffix":
            value = _entity(scan, ENTITIES[name])
        values = asked if isinstance(asked, list) else [asked]
        if not any(_is(value, one) for one in values):
            return False
    return True


def _is(value: str, asked: Any) -> bool:
    """Return whether a value is asked for; run 1 is run 01."""
    if asked is None:
        return value == ""
    text = str(asked)
    if text == ANY:
        return value != ""
    if value.isdecimal() and text.isdecimal():
        return int(value) == int(text)
    return value == text.removeprefix("ses-")


def _entity(scan: RawScan, key: str) -> str:
    return read_name(stem_of(scan.image)).entities.get(key, "")


def _is_raw(scan: RawScan) -> bool:
    """Return whether a scan lies where a raw dataset has its anatomical scans."""
    named = read_name(stem_of(scan.image)).subject.startswith("sub-")
    return named and scan.image.parent.name == "anat" and not scan.image.is_dir()


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - FEW} more" if len(names) > FEW else ""
    return (", ".join(names[:FEW]) or "none") + more

"""Rules that the rows of a manifest keep, so that no test subject is trained on."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from brainuad.cohorts.people import PersonKey, person_key
from brainuad.errors import InputError

SPLITS = ("train", "val", "test")


def check_scans(scans: Sequence[Any], where: Path) -> None:
    """Raise an InputError if the rows break the rules of a split, or name the same files.

    Args:
        scans: rows of a manifest (`brainuad.cohorts.manifest.Scan`).
        where: manifest, for messages.
    """
    splits: dict[PersonKey, tuple[str, str]] = {}
    files: dict[str, tuple[str, str]] = {}
    for scan in scans:
        own = scan.subject, scan.sequence
        other = files.setdefault("_".join(own), own)
        if other != own:
            raise InputError(
                f"{where}: {own[1]} of subject {own[0]} and {other[1]} of {other[0]} would have "
                "the same files; rename a subject"
            )
        if scan.split not in SPLITS:
            raise InputError(
                f"{where}: subject {scan.subject} has split '{scan.split}'; use {', '.join(SPLITS)}"
            )
        who, kind = scan.who, "person" if scan.person else "subject"
        known, split = splits.setdefault(person_key(who), (who, scan.split))
        if split != scan.split:
            spelled = f" (as {known})" if known != who else ""
            raise InputError(
                f"{where}: {kind} {who} is in two splits, {split}{spelled} and "
                f"{scan.split}; give each {kind} one split"
            )
        if scan.split == "train" and not scan.healthy:
            raise InputError(
                f"{where}: subject {scan.subject} is not healthy but in split 'train'; "
                "move it to test"
            )
    for (subject, sequence), count in Counter((s.subject, s.sequence) for s in scans).items():
        if count > 1:
            raise InputError(
                f"{where}: subject {subject} has {count} rows for {sequence}; keep one"
            )

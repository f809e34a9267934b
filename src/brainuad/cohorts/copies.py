"""Files with the same content under two names, which belong to one person."""

import hashlib
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from brainuad.cohorts.scans import RawScan

Key = tuple[str, str]
"""Subject and sequence."""

_SAMPLE = 2**13  # bytes in the middle of a file, where the head is


def same_content(scans: Iterable[RawScan]) -> list[list[RawScan]]:
    """Scans whose images have the same content, in groups of two or more, in the order given.

    Files of one size are compared by a hash of a sample, and those that are alike still by a hash
    of all, so that uncompressed scans of one protocol are not read whole. What is empty, not
    there or cannot be read is passed over: it fails by itself.
    """
    # Several channels of one file are several images.
    channels: dict[Hashable, list[RawScan]] = {}
    for scan in scans:
        if scan.image:
            channels.setdefault(getattr(scan, "channel", None), []).append(scan)
    groups = list(channels.values())
    for tell in (_size, _sample, _content):
        groups = [part for group in groups for part in _parted(group, tell) if len(part) > 1]
    return groups


def copies_of(scans: Iterable[RawScan]) -> dict[Key, list[str]]:
    """Return a line about the copies of each scan that has some."""
    found: dict[Key, list[str]] = {}
    for group in same_content(scans):
        for scan in group:
            others = ", ".join(_name(other) for other in group if other is not scan)
            found[scan.subject, scan.sequence] = [f"its file has the same content as {others}"]
    return found


def one_person(scans: Sequence[RawScan]) -> dict[str, str]:
    """Person to the first of those whose scans have the same content; itself for most."""
    unit = {scan.who: scan.who for scan in scans}

    def first(subject: str) -> str:
        while unit[subject] != subject:
            subject = unit[subject]
        return subject

    order = {subject: i for i, subject in enumerate(unit)}
    for group in same_content(scans):
        roots = sorted({first(scan.who) for scan in group}, key=lambda name: order[name])
        unit |= dict.fromkeys(roots, roots[0])
    return {subject: first(subject) for subject in unit}


def said_of_copies(scans: Sequence[RawScan]) -> list[str]:
    """A line for each group of scans with the same content."""
    return [
        f"{' and '.join(map(_name, group))} have the same content; they are in one split "
        f"({', '.join(sorted({scan.split for scan in group}))})"
        for group in same_content(scans)
    ]


def _name(scan: RawScan) -> str:
    return f"{scan.subject}_{scan.sequence}"


def _parted(scans: Sequence[RawScan], tell: Callable[[Path], Hashable]) -> Iterable[list[RawScan]]:
    """Return scans by their distinguishing key; those without one are left out."""
    found: dict[Hashable, list[RawScan]] = {}
    for scan in scans:
        with suppress(OSError):
            if told := tell(scan.image):
                found.setdefault(told, []).append(scan)
    return found.values()


def _files(path: Path) -> list[Path]:
    """The file, or those of a series; pipes and devices, which have no end, are none."""
    own = sorted(path.iterdir()) if path.is_dir() else [path]
    return [one for one in own if one.is_file()]


def _size(path: Path) -> Hashable:
    sizes = tuple(one.stat().st_size for one in _files(path))
    return sizes if any(sizes) else ()


def _sample(path: Path) -> Hashable:
    digest = hashlib.blake2b()
    for one in _files(path):
        size = one.stat().st_size
        with one.open("rb") as file:
            file.seek(max(0, size - _SAMPLE) // 2)
            digest.update(file.read(_SAMPLE))
    return digest.digest()


def _content(path: Path) -> Hashable:
    digest = hashlib.blake2b()
    for one in _files(path):
        with one.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.digest()

"""What a file claims against what is there: sizes are checked before memory is asked for."""

import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

from brainuad.errors import InputError

DEFLATE = 1032
"""Bytes that one byte of zlib, gzip or zip can stand for at most (zlib.net/zlib_tech.html)."""

_OLD = "sys/fs/cgroup/memory/memory"
_CGROUPS = (
    ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory.current"),
    (f"{_OLD}.limit_in_bytes", f"{_OLD}.usage_in_bytes"),
)


def available_bytes(root: Path = Path("/")) -> int:
    """Memory at hand in bytes: of the machine, or of the container where that is less."""
    found = []
    meminfo = root / "proc/meminfo"
    if meminfo.is_file():
        for line in meminfo.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
    for limit, used in _CGROUPS:
        try:
            most, now = (int((root / name).read_text(encoding="ascii")) for name in (limit, used))
        except (OSError, ValueError):
            continue
        # The cache of files counts as used, and is given up when asked for.
        found.append(max(most - now, most // 4))
    return min(found) if found else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")


def require_memory(count: float, what: object, remedy: str) -> None:
    """Refuse what does not fit into the memory at hand.

    Args:
        count: bytes, as far as is known before.
        what: a file, or a setting.
        remedy: the last words of the message.

    Raises:
        InputError: with both numbers.
    """
    # Not `count > most`: NaN is refused, too.
    if not count <= (most := available_bytes()):
        raise InputError(
            f"{what}: needs {count / 1e9:.3g} GB of memory, {most / 1e9:.3g} GB are at hand; "
            f"{remedy}"
        )


def require_file(path: Path) -> int:
    """Return the size of a regular file in bytes: pipes and devices have no end.

    Raises:
        InputError: it is something else, or not there.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; check the path")
    if not path.is_file():
        raise InputError(f"{path}: is a folder, a pipe or a device; give a file")
    return path.stat().st_size


def require_honest(path: Path, members: Iterable[zipfile.ZipInfo], most: float) -> None:
    """Refuse a zip archive whose members claim more than it can hold, or than is allowed.

    Args:
        path: of the archive.
        members: its members.
        most: bytes of all together.

    Raises:
        InputError: as said.
    """
    total = 0
    for member in members:
        if member.file_size > DEFLATE * member.compress_size + 1024:
            raise InputError(
                f"{path}: {member.filename} claims {member.file_size} bytes in "
                f"{member.compress_size}; do not trust this file"
            )
        total += member.file_size
    if total > most:
        raise InputError(
            f"{path}: unpacks to {total / 1e9:.3g} GB, {most / 1e9:.3g} GB are allowed; do not "
            "trust this file, or get it again"
        )

"""Checks of sizes and places before memory is allocated or a file is written."""

import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from brainuad.errors import CannotWrite, InputError
from brainuad.machine.refused import refused

DEFLATE = 1032
"""Largest ratio of compression of zlib, gzip and zip (zlib.net/zlib_tech.html)."""

_OLD = "sys/fs/cgroup/memory/memory"
_CGROUPS = (
    ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory.current"),
    (f"{_OLD}.limit_in_bytes", f"{_OLD}.usage_in_bytes"),
)


def available_bytes(root: Path = Path("/")) -> int:
    """Return the available memory in bytes: of the machine, or of the container if that is less."""
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
        # The cache of files counts as used, but is freed on demand.
        found.append(max(most - now, most // 4))
    return min(found) if found else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")


def require_memory(count: float, what: object, remedy: str) -> None:
    """Refuse what does not fit into the available memory.

    Args:
        count: expected number of bytes.
        what: file or setting, for the message.
        remedy: last words of the message.

    Raises:
        InputError: with both numbers.
    """
    # Not `count > most`: NaN is refused, too.
    if not count <= (most := available_bytes()):
        raise InputError(
            f"{what}: needs {count / 1e9:.3g} GB of memory, {most / 1e9:.3g} GB are at hand; "
            f"{remedy}"
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether Python or torch found no memory, on whatever device."""
    words = ("out of memory", "not enough memory", "can't allocate memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )


def require_whole(value: object, least: int, name: str) -> None:
    """Refuse a value that is no whole number, or too small.

    Raises:
        InputError: naming the setting.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{name} is {value!r}; use a whole number, {least} or more")


def require_folder(path: Path, count: float = 0) -> None:
    """Refuse a folder that cannot be made or written to, before the work that fills it.

    The check writes a temporary file in the folder, or in its nearest parent.

    Args:
        path: folder, which need not exist.
        count: smallest number of bytes that it will take.

    Raises:
        InputError: it is a file, or lies in one.
        CannotWrite: a permission, a quota, a read-only or a full disk is in the way.
    """
    there = path.absolute()
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not there.is_dir():
        what = "is" if there == path.absolute() else f"cannot be made, because {there} is"
        raise InputError(f"{path}: {what} a file or leads nowhere; give a folder")
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(bytes(4096))
            file.flush()
        free = shutil.disk_usage(there).free
    except OSError as error:
        raise refused(path, error) from error
    if count > free:
        raise CannotWrite(
            f"{path}: takes at least {count / 1e6:.3g} MB, {free / 1e6:.3g} MB are free; make room "
            "there, or give a folder on another disk"
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
        path: archive, for messages.
        members: members of the archive.
        most: largest number of bytes of all members.

    Raises:
        InputError: a member or all of them are too large.
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

"""Atomic writes: a reader sees the old file or the new one, never half of it.

A file is written beside its place under the name `.brainuad-HOST-RANDOM.NAME`, and locked by its
writer. Links and files of other programs are thus never written to or removed, and leftovers of
killed processes are recognised by a lock that is free. Links to folders are not followed, see
`brainuad.machine.links`.
"""

import csv
import ctypes
import errno
import io
import json
import math
import os
import platform
import re
import secrets
import shutil
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from brainuad.machine.links import require_no_link
from brainuad.machine.present import require_present
from brainuad.machine.refused import MARK, writing
from brainuad.machine.text import cell

Item = TypeVar("Item")

_OURS = re.compile(r"\.brainuad-([0-9a-f]{8})-[0-9a-f]{16}\.")
_FOREIGN_DAYS = 1.0
"""Age in days at which a leftover of another machine, whose locks may be invisible, is removed."""


def temporary_name(path: Path) -> Path:
    """Return a unique name beside `path` that ends as `path` does."""
    # A file system takes 255 bytes.
    end = path.name.encode()[-200:].decode(errors="ignore")
    return path.with_name(our_name(secrets.token_hex(8), end))


def our_name(digits: str, end: str, shared: bool = False) -> str:
    """Return a name that `remove_leftovers` recognises.

    Args:
        digits: 16 hexadecimal digits, unique for each process.
        end: end of the name.
        shared: True gives the same name on every machine.
    """
    return f"{MARK}{'0' * 8 if shared else _host()}-{digits}.{end}"


def remove(path: Path) -> None:
    """Remove a file, a link (not its target) or a folder with its content.

    Raises:
        CannotWrite: as `require_no_link` and `require_present`.
    """
    require_no_link(path)
    require_present(path)
    _remove(path)


def move(path: Path, target: Path) -> None:
    """Move a file to its place on the same disk, atomically.

    Raises:
        CannotWrite: as `atomic_path`.
    """
    require_no_link(target)
    require_present(target)
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)


@contextmanager
def atomic_path(path: Path, hold: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block succeeds.

    Args:
        path: place of the file.
        hold: True keeps the file locked until this process ends, so that `remove_leftovers` leaves
            it.

    Raises:
        CannotWrite: the disk is full, read-only or gone, a quota or a permission is in the way; or
            as `require_no_link` and `require_present`.
    """
    require_no_link(path)
    require_present(path)
    with writing(path):
        temporary, held = _new(path, _open_file)
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
            if not hold:
                os.close(held)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; rename it to `path` when the block succeeds.

    An existing folder is replaced whole; the caller has checked that brainuad made it.

    Raises:
        CannotWrite: as `atomic_path`.
    """
    with writing(path), own_folder(path) as temporary:
        yield temporary
        _put(temporary, path)


@contextmanager
def own_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path` for this process, and remove it at the end.

    Raises:
        CannotWrite: as `atomic_path`.
    """
    require_no_link(path)
    require_present(path)
    with writing(path):
        temporary, held = _new(path, _open_folder)
    done = threading.Event()
    threading.Thread(target=_keep_young, args=(temporary, done), daemon=True).start()
    try:
        yield temporary
    finally:
        done.set()
        _remove(temporary)
        os.close(held)


def _new(path: Path, make: Callable[[Path], int]) -> tuple[Path, int]:
    """Return a new file or folder beside `path`, and its descriptor, which holds its lock.

    Before it is locked, another process may remove it as a leftover; then the next name is tried.
    """
    while True:
        temporary = temporary_name(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            held = make(temporary)
        except FileNotFoundError:
            # Removed as a leftover, or its folder is gone, which the next try reports.
            if not path.parent.is_dir():
                raise
            continue
        if _try_lock(held) is not False and temporary.exists():
            return temporary, held
        os.close(held)


def _open_file(path: Path) -> int:
    # O_EXCL: a link at this place is not followed.
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)


def _open_folder(path: Path) -> int:
    path.mkdir()
    return os.open(path, os.O_RDONLY)


def _keep_young(path: Path, done: threading.Event) -> None:
    """Renew the time of a folder: where locks are invisible, leftovers are recognised by age."""
    while not done.wait(_FOREIGN_DAYS * 86400 / 24):
        with suppress(OSError):
            os.utime(path)


def remove_leftovers(folder: Path) -> None:
    """Remove unfinished files of killed processes from a folder and its direct subfolders."""
    for path in [*folder.glob(f"{MARK}*"), *folder.glob(f"*/{MARK}*")]:
        match = _OURS.match(path.name)
        through = path.parent.is_symlink() and path.parent != folder
        if match is None or path.is_symlink() or through:
            continue
        with suppress(OSError):
            here = match[1] == _host()
            old = time.time() - path.stat().st_mtime > _FOREIGN_DAYS * 86400
            held = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                locked = _try_lock(held)
                if locked is not False and (old or (here and locked)):
                    _remove(path)
            finally:
                os.close(held)


def _host() -> str:
    """Return eight hexadecimal digits of this machine or container."""
    return f"{zlib.crc32(f'{uuid.getnode()} {platform.node()}'.encode()):08x}"


def _try_lock(held: int) -> bool | None:
    """Lock an open file; return False where another process holds it, None without locks."""
    try:
        import fcntl

        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return None
    return True


def _remove(path: Path) -> None:
    """Remove a file, a link (not its target) or a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _put(temporary: Path, path: Path) -> None:
    """Rename a folder to `path`; an existing one gets the temporary name."""
    try:
        os.rename(temporary, path)
    except OSError as error:
        # Another process may have made it in the meantime.
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise
        _exchange(temporary, path)


def _exchange(first: Path, second: Path) -> None:
    """Exchange two names, atomically where the system can."""
    # renameat2 of Linux, with RENAME_EXCHANGE, relative to the working folder.
    here, exchange = -100, 2
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename and rename(here, os.fsencode(first), here, os.fsencode(second), exchange) == 0:
        return
    aside = temporary_name(second)
    os.replace(second, aside)
    os.replace(first, second)
    os.replace(aside, first)


def until_still(state: Callable[[], Any], write: Callable[[], Item]) -> Item:
    """Write a file that is made of others; repeat it while these change.

    The last of several processes that write it has thus read the files of all, without a lock.

    Args:
        state: returns the state of the files that it is made of.
        write: reads them and writes.

    Returns:
        The last result of `write`.
    """
    while True:
        before = state()
        found = write()
        if state() == before:
            return found


def sizes(paths: Sequence[Path]) -> list[str]:
    """Return names, sizes and times of files, and of those in folders."""
    found = []
    for path in paths:
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            if file.is_file():
                stat = file.stat()
                found.append(f"{file}:{stat.st_size}:{stat.st_mtime_ns}")
    return found


def write_text(path: Path, text: str, hold: bool = False) -> None:
    """Write UTF-8 text atomically; `hold` is that of `atomic_path`."""
    with atomic_path(path, hold) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_csv(path: Path, rows: Iterable[Sequence[str]]) -> None:
    """Write rows of text as CSV atomically; a spreadsheet computes no cell of it."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(map(cell, row) for row in rows)
    write_text(path, text.getvalue())


def write_json(path: Path, value: Any, hold: bool = False) -> None:
    """Write JSON atomically, indented, keys in the given order; NaN becomes null."""
    write_text(path, json.dumps(_finite(value), indent=2, allow_nan=False) + "\n", hold)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

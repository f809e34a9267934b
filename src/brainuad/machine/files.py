"""Atomic writes: a reader sees the old file or the new one, never half of it.

What is half written lies beside its place under a name of ours, `.brainuad-HOST-RANDOM.NAME`, and
is locked by its writer. So a link or a file of somebody else is never written to or removed, and
the leftovers of a process that was killed are known by the lock that nobody holds.
Nor is a link to a folder followed on the way, see `brainuad.machine.links`.
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
"""Age of a leftover of another machine, whose locks may not be seen here, before it is removed."""


def temporary_name(path: Path) -> Path:
    """A name beside `path` that no other process takes, and that ends as `path` does."""
    # A file system takes 255 bytes.
    end = path.name.encode()[-200:].decode(errors="ignore")
    return path.with_name(our_name(secrets.token_hex(8), end))


def our_name(digits: str, end: str, shared: bool = False) -> str:
    """A name by which `remove_leftovers` knows a file or folder of a process that was killed.

    Args:
        digits: 16 hexadecimal ones, that no other process has.
        end: ending of the name.
        shared: the same on every machine.
    """
    return f"{MARK}{'0' * 8 if shared else _host()}-{digits}.{end}"


def remove(path: Path) -> None:
    """Remove a file, a link (not what is behind it) or a folder with all that is in it.

    Raises:
        CannotWrite: as `require_no_link` and `require_present`.
    """
    require_no_link(path)
    require_present(path)
    _remove(path)


def move(path: Path, target: Path) -> None:
    """Put a file in the place of another one on the same disk, at once.

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
    """Yields a temporary path beside `path`; renames it to `path` when the block succeeds.

    Args:
        path: path of the file.
        hold: keep the file locked as long as this process lives, so that `remove_leftovers` knows
            it, if it is named as ours are.

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
    """Yields a temporary folder beside `path`; renames it to `path` when the block succeeds.

    A folder that is there is replaced whole: the caller has made sure that it is ours.

    Raises:
        CannotWrite: as `atomic_path`.
    """
    with writing(path), own_folder(path) as temporary:
        yield temporary
        _put(temporary, path)


@contextmanager
def own_folder(path: Path) -> Iterator[Path]:
    """Yields a new folder beside `path` that is this process's own, and removes it after.

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
    """A new file or folder beside `path`, and its descriptor, which holds its lock.

    Between its making and its locking another process may take it for a leftover; then the next
    name is tried.
    """
    while True:
        temporary = temporary_name(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            held = make(temporary)
        except FileNotFoundError:
            # Taken for a leftover, or its folder is gone, which the next try says.
            if not path.parent.is_dir():
                raise
            continue
        if _try_lock(held) is not False and temporary.exists():
            return temporary, held
        os.close(held)


def _open_file(path: Path) -> int:
    # No link that somebody put there is followed: the file is new, or this fails.
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)


def _open_folder(path: Path) -> int:
    path.mkdir()
    return os.open(path, os.O_RDONLY)


def _keep_young(path: Path, done: threading.Event) -> None:
    """Update the file's time, because its age marks a leftover where locks are not visible."""
    while not done.wait(_FOREIGN_DAYS * 86400 / 24):
        with suppress(OSError):
            os.utime(path)


def remove_leftovers(folder: Path) -> None:
    """Removes what killed processes of ours left half written in a folder and one folder deep."""
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
    """Eight digits of this machine, or container."""
    return f"{zlib.crc32(f'{uuid.getnode()} {platform.node()}'.encode()):08x}"


def _try_lock(held: int) -> bool | None:
    """Locks an open file; False where another holds it, None where there are no locks."""
    try:
        import fcntl

        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return None
    return True


def _remove(path: Path) -> None:
    """Removes a file, a link (not what is behind it) or a folder of ours."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _put(temporary: Path, path: Path) -> None:
    """Renames a folder to `path`; where there is one, it goes to the temporary name."""
    try:
        os.rename(temporary, path)
    except OSError as error:
        # Another process may have made it meanwhile.
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise
        _exchange(temporary, path)


def _exchange(first: Path, second: Path) -> None:
    """Lets two names change places, at once where the system can do that."""
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
    """Write what is made of files that others write too; again where these changed meanwhile.

    So the last of several processes that write it has seen the files of all, without a lock.

    Args:
        state: returns the state of the files that the result is made from.
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
    """Writes UTF-8 text atomically; `hold` is that of `atomic_path`."""
    with atomic_path(path, hold) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_csv(path: Path, rows: Iterable[Sequence[str]]) -> None:
    """Writes rows of text as CSV atomically; no cell of it is computed by a spreadsheet."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(map(cell, row) for row in rows)
    write_text(path, text.getvalue())


def write_json(path: Path, value: Any, hold: bool = False) -> None:
    """Writes JSON atomically, indented, keys in the order given; NaN becomes null."""
    write_text(path, json.dumps(_finite(value), indent=2, allow_nan=False) + "\n", hold)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

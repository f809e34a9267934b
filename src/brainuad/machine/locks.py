"""Locks of what several processes make and share, and claims of folders that only one may use."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLease, Timeout

from brainuad.machine.links import require_no_link
from brainuad.machine.present import require_present
from brainuad.machine.refused import writing
from brainuad.machine.text import say

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)
"""What an operating system says of a lock where the file system has none."""

LEASE_S = 60.0
"""Seconds without a sign of life after which a lease of another machine counts as left behind."""


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Keeps `path` to this process for the block; others that ask wait.

    Processes of one run, and runs of one sweep, want the same cached things at the same time. Where
    the file system has no locks, a file with a sign of life stands for one.

    Raises:
        CannotWrite: the folder cannot be written; or as `require_no_link`, and the lock itself must
            be none.
    """
    name = path.with_name(f".{path.name}.lock")
    require_no_link(name / "lock")
    require_present(name)
    with writing(name):
        path.parent.mkdir(parents=True, exist_ok=True)
        held = _acquired(name)
    try:
        yield
    finally:
        # The block is done, even where its disk is gone now.
        with suppress(OSError):
            held.release()


def _acquired(name: Path) -> BaseFileLock:
    native = FileLock(name, fallback_to_soft=False)
    try:
        native.acquire()
        return native
    except NotImplementedError:
        reason = os.strerror(errno.ENOSYS)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        reason = os.strerror(error.errno)
    _warn(reason)
    lease = SoftFileLease(name.with_suffix(".lease"), lease_duration=LEASE_S)
    lease.acquire()
    return lease


@cache
def _warn(reason: str) -> None:
    """Once for each reason."""
    say(
        f"warning: the cache lies on a file system without locks ({reason}); processes wait for "
        "one another by files there",
        file=sys.stderr,
    )


class Claim:
    """A folder that belongs to this process until `release`.

    A file in it says so, with a sign of life, because locks of one machine may not be seen on
    another.

    Args:
        folder: made unless it is there.
        wait_s: seconds to wait for another process that has it.

    Raises:
        Taken: another process has it.
        CannotWrite: the folder cannot be written.
    """

    def __init__(self, folder: Path, wait_s: float = 0.0) -> None:
        self.folder = folder
        self.mark = folder / ".claim"
        require_no_link(self.mark)
        self._lease = SoftFileLease(self.mark, lease_duration=LEASE_S)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                self._lease.acquire(timeout=wait_s)
            except Timeout:
                raise Taken(str(folder)) from None

    def release(self) -> None:
        """Gives the folder back, and removes it where nothing was put into it."""
        with suppress(OSError):
            self._lease.release()
        with suppress(OSError):
            self.folder.rmdir()


class Taken(Exception):
    """Another process has the folder."""

"""Locks of shared files, and claims of folders that one process uses alone."""

import errno
import itertools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLease, Timeout

from brainuad.errors import InputError
from brainuad.machine.links import require_no_link
from brainuad.machine.present import require_present
from brainuad.machine.refused import writing
from brainuad.machine.text import say

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)
"""Errors of a lock where the file system has none."""

LEASE_S = 60.0
"""Seconds without renewal after which a lease of another machine is abandoned."""


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Lock `path` for the block; other processes wait.

    Processes of one run, and runs of one sweep, need the same cached files at the same time. Where
    the file system has no locks, a file that is renewed regularly replaces them.

    Raises:
        CannotWrite: the folder cannot be written, or the lock or its folder is a link.
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
        # The block is done, even if its disk is gone.
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
    """Print a warning once per reason."""
    say(
        f"warning: the cache lies on a file system without locks ({reason}); processes wait for "
        "one another by files there",
        file=sys.stderr,
    )


class Taken(Exception):
    """Another process has the folder."""


class Claim:
    """A folder that this process uses alone until `release`.

    A file in it that is renewed regularly marks the claim, because locks of one machine may be
    invisible on another.

    Args:
        folder: folder, made unless it exists.
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
            self._made = not folder.is_dir()
            folder.mkdir(parents=True, exist_ok=True)
            try:
                self._lease.acquire(timeout=wait_s)
            except Timeout:
                raise Taken(str(folder)) from None

    def release(self) -> None:
        """Release the folder, and remove it where it is new and empty."""
        with suppress(OSError):
            self._lease.release()
        if self._made:
            with suppress(OSError):
                self.folder.rmdir()


def claim_free(folder: Path, fresh: bool) -> Claim:
    """Claim a folder, or one with a number behind its name where another process has it.

    Args:
        folder: first choice.
        fresh: True takes only a folder that does not exist; else any that no other process has.

    Raises:
        CannotWrite: as `Claim`.
    """
    for number in itertools.count(1):
        own = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        if os.path.lexists(own) and (fresh or number > 1):
            continue
        try:
            claim = Claim(own)
        except Taken:
            continue
        if number > 1:
            say(f"note: {folder} is another process's; this one takes {own}")
        return claim
    raise AssertionError


def claim_again(folder: Path) -> Claim:
    """Claim a folder to resume in; that of a killed process is free after `LEASE_S`.

    Raises:
        InputError: another process is at work in it.
        CannotWrite: as `Claim`.
    """
    try:
        return Claim(folder)
    except Taken:
        say(f"note: another process has {folder}; waiting {LEASE_S:.0f} s for a sign of life of it")
    try:
        return Claim(folder, LEASE_S + 5)
    except Taken:
        raise InputError(
            f"{folder}: another process is at work in it; wait for its end, or give another folder "
            "with paths.output_dir"
        ) from None

"""Room on a disk that is kept for what has to be written at the end, whatever fills it before."""

import os
from contextlib import suppress
from pathlib import Path

from brainuad.machine.present import require_present
from brainuad.machine.refused import FULL, writing


class Room:
    """A file that takes room until it is given back.

    Where the operating system has no call for it, none is kept. Where the file system has none, the
    C library writes the file instead.

    Args:
        path: path of the file, in a folder of the process's own.
        last: bytes that are given back last.
    """

    def __init__(self, path: Path, last: int) -> None:
        self.path = path
        self.last = last
        self._size = 0
        self._kept: set[Path] = set()

    def keep(self, count: int, what: Path) -> None:
        """Keep room for a file, once, and the first time that for the last.

        Args:
            count: bytes.
            what: the file that they are for.

        Raises:
            CannotWrite: the disk has no such room, in words that name `what`; or as
                `require_present`.
        """
        allocate = getattr(os, "posix_fallocate", None)
        count += 0 if self._size else self.last
        if allocate is None or not count or what in self._kept:
            return
        require_present(what)
        with writing(what):
            held = os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600)
            try:
                allocate(held, self._size, count)
                self._size += count
                self._kept.add(what)
            except OSError as error:
                # Any other error: this file system cannot keep room.
                if error.errno in FULL:
                    os.ftruncate(held, self._size)
                    raise
            finally:
                os.close(held)

    def give_back(self, last: bool = False) -> None:
        """Free all but what is to be given back last, or that too."""
        left = 0 if last else min(self.last, self._size)
        # Gone with its disk, where that is lost.
        with suppress(OSError):
            os.truncate(self.path, left)
            self._size = left

"""Disk space that is reserved for the files written at the end."""

import os
from contextlib import suppress
from pathlib import Path

from brainuad.machine.present import require_present
from brainuad.machine.refused import FULL, writing


class Room:
    """A file that takes space until it is released.

    Nothing is reserved where the operating system has no call for it. Where the file system has
    none, the C library writes the file.

    Args:
        path: place of the file, in a folder of this process.
        last: number of bytes that are released last.
    """

    def __init__(self, path: Path, last: int) -> None:
        self.path = path
        self.last = last
        self._size = 0
        self._kept: set[Path] = set()

    def keep(self, count: int, what: Path) -> None:
        """Reserve space for a file, once; the first call reserves `last`, too.

        Args:
            count: number of bytes.
            what: file that needs them.

        Raises:
            CannotWrite: the disk has no such space, or is gone; the message names `what`.
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
                # Any other error: this file system cannot reserve space.
                if error.errno in FULL:
                    os.ftruncate(held, self._size)
                    raise
            finally:
                os.close(held)

    def give_back(self, last: bool = False) -> None:
        """Release all but the `last` bytes; with `last` these, too."""
        left = 0 if last else min(self.last, self._size)
        # The file may be gone with its disk.
        with suppress(OSError):
            os.truncate(self.path, left)
            self._size = left

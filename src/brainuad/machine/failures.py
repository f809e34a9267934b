"""One collector of what could not be done for single scans, so that none stops the others."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from brainuad.errors import CannotWrite, InputError, PartialFailure
from brainuad.machine.present import require_present
from brainuad.machine.refused import FULL, refused


class Failures(list[tuple[str, str]]):
    """(subject, reason in one line) of each scan that something could not be done for."""

    @contextmanager
    def catching(self, subject: str, where: object = None) -> Iterator[None]:
        """List what the block raises as the failure of one scan.

        Args:
            subject: whose scan it is.
            where: the file that the work is on. With it any error is listed, one that nobody
                foresaw with the request to report it. None lists an InputError alone.

        Raises:
            CannotWrite: no scan is to blame for it.
        """
        try:
            yield
        except CannotWrite:
            raise
        except Exception as error:
            if where is None and not isinstance(error, InputError):
                raise
            if isinstance(error, OSError) and error.errno in FULL:
                # Nothing but a write is refused so. What names no file is a temporary one.
                raise refused(error.filename or tempfile.gettempdir(), error) from error
            # A scan is not to blame either where the disk that it lay on is gone.
            require_present()
            self.append((subject, _reason(error, where)))

    def first_reasons(self) -> "Failures":
        """Return the first reason of each subject: one that failed early fails later too."""
        first: dict[str, str] = {}
        for subject, reason in self:
            first.setdefault(subject, reason)
        return Failures(first.items())

    def raise_if_any(self) -> None:
        """Raise a PartialFailure of all of them, if there are any."""
        if self:
            raise PartialFailure(self)


def _reason(error: Exception, where: object) -> str:
    line = " ".join(str(error).split())
    if isinstance(error, InputError):
        return line
    said = ": ".join(part for part in (str(where), type(error).__name__, line) if part)
    return f"{said}; please report this"

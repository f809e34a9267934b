"""Collector of failures of single scans, so that the others are done."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from brainuad.errors import CannotWrite, InputError, PartialFailure
from brainuad.machine.present import require_present
from brainuad.machine.refused import FULL, refused


class Failures(list[tuple[str, str]]):
    """List of (subject, reason in one line) of the scans that failed."""

    @contextmanager
    def catching(self, subject: str, where: object = None) -> Iterator[None]:
        """List what the block raises as the failure of one scan.

        Args:
            subject: subject of the scan.
            where: file that is processed. With it any error is listed, an unforeseen one with the
                request to report it. None lists an InputError alone.

        Raises:
            CannotWrite: an error of the disk, not of a scan.
        """
        try:
            yield
        except CannotWrite:
            raise
        except Exception as error:
            if where is None and not isinstance(error, InputError):
                raise
            if isinstance(error, OSError) and error.errno in FULL:
                # Only writing raises it. Without a name the file is a temporary one.
                raise refused(error.filename or tempfile.gettempdir(), error) from error
            # A disk that is gone is no failure of a scan, either.
            require_present()
            self.append((subject, _reason(error, where)))

    def first_reasons(self) -> "Failures":
        """Return the first reason of each subject: a subject that failed early fails later, too."""
        first: dict[str, str] = {}
        for subject, reason in self:
            first.setdefault(subject, reason)
        return Failures(first.items())

    def raise_if_any(self) -> None:
        """Raise a PartialFailure of all failures, if there are any."""
        if self:
            raise PartialFailure(self)


def _reason(error: Exception, where: object) -> str:
    line = " ".join(str(error).split())
    if isinstance(error, InputError):
        return line
    said = ": ".join(part for part in (str(where), type(error).__name__, line) if part)
    return f"{said}; please report this"

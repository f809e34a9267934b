"""One guard around what is done for one scan, so that none stops the others."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from brainuad.errors import CannotWrite, InputError
from brainuad.machine.present import require_present
from brainuad.machine.refused import FULL, refused

Failures = list[tuple[str, str]]
"""(subject, reason) of each scan that something could not be done for."""


@contextmanager
def guarded(failures: Failures, who: str, where: object) -> Iterator[None]:
    """List what the block raises as the failure of one scan.

    Args:
        failures: gets `who` with the reason in one line.
        who: whose scan it is.
        where: the file that the work was on, for errors that do not name one.

    Raises:
        CannotWrite: no scan is to blame for it.
    """
    try:
        yield
    except CannotWrite:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL:
            # Nothing but a write is refused so. What names no file is one for the time being.
            raise refused(error.filename or tempfile.gettempdir(), error) from error
        # A scan is not to blame either where the disk that it lay on is gone.
        require_present()
        failures.append((who, reason_of(error, where)))


def reason_of(error: Exception, where: object) -> str:
    """Why a scan failed, in one line; an error that nobody foresaw is to be reported."""
    line = " ".join(str(error).split())
    if isinstance(error, InputError):
        return line
    said = ": ".join(part for part in (str(where), type(error).__name__, line) if part)
    return f"{said}; please report this"

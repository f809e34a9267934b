"""Files that cannot be written: whatever an operating system says, one line that names the path."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brainuad.errors import CannotWrite
from brainuad.machine.present import require_present

MARK = ".brainuad-"
"""Names of what is half written begin so, see `brainuad.machine.files`."""

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""Errors of the operating system for a disk that accepts no more data."""

REFUSED = {
    *(*FULL, errno.EACCES, errno.EPERM, errno.EIO),
    *(errno.EFBIG, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOLCK, errno.ELOOP),
    *(errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN),
    *(errno.EHOSTUNREACH, errno.ESHUTDOWN, errno.EREMOTEIO),
}
"""Errors of the operating system for a file that cannot be written, or a lost disk."""


def refused(path: object, error: OSError) -> CannotWrite:
    """The error of a file that cannot be written, in one line."""
    return CannotWrite(
        f"{path}: cannot be written ({error.strerror or error}); free space there, or give a "
        "folder that may be written"
    )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what the operating system refuses into one line that names the path.

    Args:
        path: path of the file that is written, or of the folder that gets several.

    Raises:
        CannotWrite: in place of what is refused.
    """
    try:
        yield
    except CannotWrite:
        raise
    except FileNotFoundError as error:
        # What is written, not what is read for it.
        if MARK in str(error.filename):
            require_present(path)
            raise refused(path, error) from error
        raise
    except FileExistsError as error:
        why = OSError(errno.ENOTDIR, "a file is where a folder has to be")
        raise refused(error.filename or path, why) from error
    except OSError as error:
        # ITK tells no number, torch (below) no OSError.
        if error.errno in REFUSED or error.errno is None:
            raise refused(path, error) from error
        raise
    except RuntimeError as error:
        if "PytorchStreamWriter" in str(error) or "inline_container" in str(error):
            raise refused(path, OSError("disk full?")) from error
        raise

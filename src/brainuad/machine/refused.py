"""Errors of files that cannot be written, as one line that names the path."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brainuad.errors import CannotWrite
from brainuad.machine.present import require_present

MARK = ".brainuad-"
"""Start of the names of unfinished files, see `brainuad.machine.files`."""

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""Errors of a disk that is full or read-only."""

REFUSED = {
    *(*FULL, errno.EACCES, errno.EPERM, errno.EIO),
    *(errno.EFBIG, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOLCK, errno.ELOOP),
    *(errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN),
    *(errno.EHOSTUNREACH, errno.ESHUTDOWN, errno.EREMOTEIO),
}
"""Errors of a file that cannot be written, or whose disk is gone."""


def refused(path: object, error: OSError) -> CannotWrite:
    """Return the error of a file that cannot be written, in one line."""
    return CannotWrite(
        f"{path}: cannot be written ({error.strerror or error}); free space there, or give a "
        "folder that may be written"
    )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn errors of writing in the block into one line that names the path.

    Args:
        path: file that is written, or folder that gets several.

    Raises:
        CannotWrite: replaces the error of the operating system.
    """
    try:
        yield
    except CannotWrite:
        raise
    except FileNotFoundError as error:
        # A file that is written, not one that is read for it.
        if MARK in str(error.filename):
            require_present(path)
            raise refused(path, error) from error
        raise
    except FileExistsError as error:
        why = OSError(errno.ENOTDIR, "a file is where a folder has to be")
        raise refused(error.filename or path, why) from error
    except OSError as error:
        # ITK gives no error number, torch (below) no OSError.
        if error.errno in REFUSED or error.errno is None:
            raise refused(path, error) from error
        raise
    except RuntimeError as error:
        if "PytorchStreamWriter" in str(error) or "inline_container" in str(error):
            raise refused(path, OSError("disk full?")) from error
        raise

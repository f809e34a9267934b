"""Temporary files, on machines without a folder for them.

The file system of a container may be read-only but for the folder of the results.
"""

import atexit
import os
import tempfile
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from brainuad.machine.files import own_folder


def scratch_folder() -> Path:
    """Return a temporary folder of this process, removed at its end."""
    return Path(_scratch().name)


@cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="brainuad-")


def have_temporary(out: Path) -> None:
    """Put temporary files into a folder in `out` where the machine has no place for them.

    Libraries and the processes of this one do the same. The folder is removed at the end of the
    process: matplotlib, which makes one in it, expects it until then.

    Args:
        out: folder that is written to, made where it is needed.

    Raises:
        CannotWrite: `out` cannot be written either.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        held = ExitStack()
        folder = held.enter_context(own_folder(out / "temporary"))
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder.absolute())
        atexit.register(held.close)

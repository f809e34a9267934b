"""Folders that a command writes to: nothing is written there once their disk is gone.

Where a disk was unmounted, its folders can be made anew on the disk below. Results would then lie
in two places, and tables would lack what is on the first.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brainuad.errors import CannotWrite

PRESENT = "BRAINUAD_PRESENT"
"""Variable with the folders of `present` and their marks, as JSON."""


@contextmanager
def present(folder: Path, mark: Path) -> Iterator[None]:
    """Refuse, in the block, to write below a folder whose mark is not there any more.

    Processes that are started in the block inherit this.

    Args:
        folder: that a command writes to.
        mark: a file or folder of the command's own in it.
    """
    before = os.environ.get(PRESENT)
    marks = _marks() | {str(folder.absolute()): str(mark.absolute())}
    os.environ[PRESENT] = json.dumps(marks)
    try:
        yield
    finally:
        os.environ.pop(PRESENT)
        os.environ.update({} if before is None else {PRESENT: before})


def _marks() -> dict[str, str]:
    found: dict[str, str] = json.loads(os.environ.get(PRESENT, "{}"))
    return found


def require_present(path: Path) -> None:
    """Refuse a path below a folder of `present` that is gone.

    Raises:
        CannotWrite: its disk was unmounted, or somebody removed it.
    """
    whole = Path(os.path.abspath(path))
    for folder, mark in _marks().items():
        if Path(folder) in whole.parents and not os.path.lexists(mark):
            raise CannotWrite(
                f"{folder}: is not there any more (unmounted or removed?); what was finished lies "
                "where it was. Run the same command again when it is back"
            )

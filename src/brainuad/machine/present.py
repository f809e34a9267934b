"""Disks that go while a command is at work: nothing is written below, and no scan is to blame.

Where a disk was unmounted, its folders can be made anew on the disk below. Results would then lie
in two places, and tables would lack what is on the first.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from brainuad.errors import CannotWrite, InputError, PartialFailure

PRESENT = "BRAINUAD_PRESENT"
"""Variable with the folders of `present` and their marks, as JSON."""


@contextmanager
def present(folder: Path, mark: Path) -> Iterator[None]:
    """Refuse, in the block, to write below a folder whose mark is not there any more.

    Processes that are started in the block inherit this.

    Args:
        folder: that a command writes to.
        mark: a file or folder of the command's own in it.

    Raises:
        CannotWrite: in place of any error of the block, where the folder is gone.
    """
    before = os.environ.get(PRESENT)
    marks = _marks() | {str(folder.absolute()): str(mark.absolute())}
    os.environ[PRESENT] = json.dumps(marks)
    try:
        yield
    except (CannotWrite, PartialFailure):
        raise
    except Exception as error:
        # What could not be read there tells of the same.
        if not os.path.lexists(mark):
            gone = _gone(folder)
            for note in getattr(error, "__notes__", ()):
                gone.add_note(note)
            raise gone from error
        raise
    finally:
        os.environ.pop(PRESENT)
        os.environ.update({} if before is None else {PRESENT: before})


def _marks() -> dict[str, str]:
    found: dict[str, str] = json.loads(os.environ.get(PRESENT, "{}"))
    return found


def require_present(path: Path | None = None) -> None:
    """Refuse a path below a folder of `present` that is gone; without a path, that any is gone.

    Raises:
        CannotWrite: its disk was unmounted, or somebody removed it.
    """
    whole = Path(os.path.abspath(path)) if path else None
    for folder, mark in _marks().items():
        inside = whole is None or Path(folder) in whole.parents
        if inside and not os.path.lexists(mark):
            raise _gone(folder)


def _gone(folder: object) -> CannotWrite:
    return CannotWrite(
        f"{folder}: is not there any more (unmounted or removed?); what was finished lies where it "
        "was. Run the same command again when it is back"
    )


def require_any(images: Sequence[Path]) -> None:
    """Refuse to go on where all scans that were there are gone; a single one is its own matter.

    Args:
        images: files and folders that were there at the start.

    Raises:
        InputError: there are several, and none is there any more.
    """
    if len(images) > 1 and not any(map(os.path.exists, images)):
        raise InputError(
            f"{images[0]} and all the other scans are not there any more (unmounted or removed?); "
            "what was finished is kept. Run the same command again when they are back"
        )

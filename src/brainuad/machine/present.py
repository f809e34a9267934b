"""Guards against disks that are unmounted while a command runs.

Its folders could be made anew on the disk below. Results would then lie in two places, and tables
would lack those of the first.
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
    """Refuse, in the block, to write below a folder whose mark is gone.

    Processes that are started in the block inherit this.

    Args:
        folder: folder that a command writes to.
        mark: file or folder of the command in it.

    Raises:
        CannotWrite: the folder is gone; replaces any error of the block.
    """
    before = os.environ.get(PRESENT)
    marks = _marks() | {str(folder.absolute()): str(mark.absolute())}
    os.environ[PRESENT] = json.dumps(marks)
    try:
        yield
    except (CannotWrite, PartialFailure):
        raise
    except Exception as error:
        # A file that could not be read there has the same cause.
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
    """Refuse a path below a folder of `present` that is gone.

    Args:
        path: path to write; None checks all folders.

    Raises:
        CannotWrite: its disk was unmounted, or the folder was removed.
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
    """Refuse to continue where all of several scans are gone.

    Args:
        images: files and folders that existed at the start.

    Raises:
        InputError: there are several, and none exists.
    """
    if len(images) > 1 and not any(map(os.path.exists, images)):
        raise InputError(
            f"{images[0]} and all the other scans are not there any more (unmounted or removed?); "
            "nothing finished is lost. Run the same command again when they are back"
        )

"""Guards against links inside the folders that a command writes to.

A link in a folder of unknown origin could redirect the command's files.
"""

import json
import os
from pathlib import Path

from brainuad.errors import CannotWrite

GUARDED = "BRAINUAD_NO_LINKS"
"""Variable with the folders of `follow_no_links`, as JSON."""

MOST = 100
"""Largest number of guarded folders, the newest: a variable takes 128 KiB."""


def follow_no_links(folder: Path) -> None:
    """Refuse, from now on, to write or remove anything below a folder through a link in it.

    The folder itself may be a link or lie behind one, because the user named it. Processes that are
    started later inherit this.
    """
    whole = str(folder.absolute())
    known = [*(path for path in _guarded() if path != whole), whole]
    os.environ[GUARDED] = json.dumps(known[-MOST:])


def _guarded() -> list[str]:
    found: list[str] = json.loads(os.environ.get(GUARDED, "[]"))
    return found


def require_no_link(path: Path) -> None:
    """Refuse a path that leads through a link below a folder of `follow_no_links`.

    The last part may be a link, which is replaced or removed, not followed.

    Raises:
        CannotWrite: a folder on the way is a link.
    """
    whole = Path(os.path.abspath(path))
    for root in map(Path, _guarded()):
        if root in whole.parents:
            for folder in whole.parents[: whole.parents.index(root)]:
                if folder.is_symlink():
                    raise CannotWrite(
                        f"{folder}: is a link, and in {root} none is followed; put a folder there"
                    )

"""The folder that an export writes: whole or not at all, and never over other files."""

import hashlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from brainuad.errors import InputError
from brainuad.machine.files import atomic_folder


@contextmanager
def exported_folder(out: Path, members: Collection[str], kind: str) -> Iterator[Path]:
    """Yield a temporary folder that becomes `out` when the block succeeds.

    Args:
        out: folder to make; an earlier export of the same kind is replaced.
        members: paths of its files, relative to it.
        kind: name of the format, for messages.

    Raises:
        InputError: `out` is a file, is named as one, or holds something else.
    """
    if out.is_file() or out.suffix in (".zip", ".onnx", ".ts", ".pt"):
        raise InputError(f"{out}: {kind} is a folder of files; give the name of a folder")
    if out.is_dir():
        found = (path for path in sorted(out.rglob("*")) if not path.is_dir())
        names = (path.relative_to(out).as_posix() for path in found)
        if other := next((name for name in names if name not in members), ""):
            raise InputError(
                f"{out}: holds {other!r}, which is no part of {kind}; give OUT a new name"
            )
    with atomic_folder(out) as folder:
        yield folder


def sha256_of(path: Path) -> str:
    """Return the hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

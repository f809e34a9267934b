"""Unpacks tar and zip archives from the net: nothing lands outside the folder."""

import math
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from brainuad.errors import CannotWrite, InputError
from brainuad.machine.files import atomic_path
from brainuad.machine.limits import require_honest


def unpack(archive: Path, folder: Path) -> int:
    """Write the files of an archive into a folder; returns how many.

    Files that are there with the right size are kept, so that a second call goes on. Links and
    devices are refused: none of these data sets holds one.

    Raises:
        InputError: no archive, a damaged one, or one with a path outside the folder.
    """
    if not archive.is_file():
        raise InputError(f"{archive}: no such file; download it first")
    try:
        with _opened(archive) as opened:
            # All names first: an archive that must not be trusted leaves nothing behind.
            for name in _names(opened, archive):
                _inside(name, archive)
            _room(opened, archive, folder)
            return sum(
                _write(folder / _inside(name, archive), size, source)
                for name, size, source in _members(opened)
            )
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error):
        raise InputError(
            f"{archive}: damaged, or neither tar nor zip; delete it and download it again"
        ) from None
    except RuntimeError as error:
        # Encrypted, or a compression that Python does not know.
        raise InputError(f"{archive}: {error}; unpack it with another program") from None
    except CannotWrite:
        raise
    except OSError as error:
        raise InputError(f"{archive}: {error}; is the disk full, or may it be written?") from None


@contextmanager
def _opened(archive: Path) -> Iterator[tarfile.TarFile | zipfile.ZipFile]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            yield opened
    else:
        with tarfile.open(archive) as tar:
            yield tar


def _room(opened: tarfile.TarFile | zipfile.ZipFile, archive: Path, folder: Path) -> None:
    """Refuse an archive that claims more than it can hold, or than the disk has room for."""
    if isinstance(opened, zipfile.ZipFile):
        require_honest(archive, opened.infolist(), math.inf)
        need = sum(info.file_size for info in opened.infolist())
    else:
        need = sum(member.size for member in opened.getmembers())
        if any(member.issparse() for member in opened.getmembers()):
            raise InputError(f"{archive}: holds sparse files; unpack it with another program")
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if need > (free := shutil.disk_usage(place).free):
        raise InputError(
            f"{archive}: unpacks to {need / 1e9:.3g} GB, {free / 1e9:.3g} GB are free in {place}; "
            "give a folder with more room"
        )


def _names(opened: tarfile.TarFile | zipfile.ZipFile, archive: Path) -> Iterable[str]:
    if isinstance(opened, zipfile.ZipFile):
        return opened.namelist()
    members = opened.getmembers()
    for member in members:
        if not member.isfile() and not member.isdir():
            raise InputError(f"{archive}: {member.name} is a link or device; do not trust it")
    return [member.name for member in members]


def _members(
    opened: tarfile.TarFile | zipfile.ZipFile,
) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Name, size and content of every file."""
    if isinstance(opened, zipfile.ZipFile):
        for info in opened.infolist():
            if not info.is_dir():
                with opened.open(info) as source:
                    yield info.filename, info.file_size, source
        return
    for member in opened.getmembers():
        if member.isfile() and (file := opened.extractfile(member)):
            yield member.name, member.size, file


def _inside(name: str, archive: Path) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
        raise InputError(f"{archive}: {name} leads out of the folder; do not trust this archive")
    return path


def _write(path: Path, size: int, source: IO[bytes]) -> int:
    if not (path.is_file() and path.stat().st_size == size):
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
    return 1

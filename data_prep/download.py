"""Downloads a file: goes on where it was cut off, checks its sum, shows how far it is."""

import hashlib
import http.client
import re
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from brainuad.errors import InputError

from .dataset import Download

CHUNK = 1 << 20
SPARED = 1 << 30
"""Bytes of the disk that a download of unknown size leaves free."""
ATTEMPTS = 3
"""A connection that is cut this often is left to the user."""


def download(item: Download, folder: Path, timeout_s: float = 60) -> Path:
    """Fetch a file into a folder, by way of `NAME.part`; a file that is there is only checked.

    Raises:
        InputError: refused by the server, cut off again and again, or a wrong checksum or size;
            then the `.part` is deleted and everything else left alone.
    """
    target = folder / item.name
    if target.is_file():
        if problem := _wrong(target, item):
            raise InputError(f"{target}: {problem}; move it away and run this again")
        return target
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{item.name}.part"
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as progress:
        bar = progress.add_task(item.name, total=item.size)
        for _ in range(ATTEMPTS):
            if _fetch(item, part, timeout_s, progress, bar):
                break
        else:
            raise InputError(
                f"{item.url}: cut off at {_size(part)} bytes, {ATTEMPTS} times; run the same "
                "command again to go on from there"
            )
    if problem := _wrong(part, item):
        part.unlink()
        _version(part).unlink(missing_ok=True)
        raise InputError(f"{item.url}: {problem}; the part is deleted, run this again")
    part.replace(target)
    _version(part).unlink(missing_ok=True)
    return target


def _fetch(item: Download, part: Path, timeout_s: float, progress: Progress, bar: Any) -> bool:
    """One connection; returns whether the file is whole."""
    have = _size(part)
    request = urllib.request.Request(item.url, headers={"User-Agent": "brainuad"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        # Without a checksum, halves of two versions of a file would pass for one.
        if version := _version(part).read_text() if _version(part).is_file() else "":
            request.add_header("If-Range", version)
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            if response.status == 206:
                start, total = _content_range(response.headers.get("Content-Range", ""), item.url)
                if start != have:
                    raise InputError(f"{item.url}: asked from byte {have}, got {start}; try later")
            else:
                # The server ignores ranges, or the file is another one now: from the start.
                have, length = 0, response.headers.get("Content-Length")
                total = int(length) if length else None
            _keep_version(part, response.headers)
            progress.update(bar, completed=have, total=total or item.size)
            with part.open("ab" if have else "wb") as file:
                came, most = have, _most(item, total, folder=part.parent)
                while chunk := response.read(CHUNK):
                    came += len(chunk)
                    if came > most:
                        raise _TooLong
                    file.write(chunk)
                    progress.advance(bar, len(chunk))
    except _TooLong:
        part.unlink()
        _version(part).unlink(missing_ok=True)
        raise InputError(
            f"{item.url}: sends more than the {most} bytes that it may have; the part is deleted, "
            "see the homepage"
        ) from None
    except urllib.error.HTTPError as error:
        if error.code == 416:
            return _after_416(part, error.headers.get("Content-Range", ""))
        raise InputError(f"{item.url}: {error.code} {error.reason}; see the homepage") from None
    except urllib.error.URLError as error:
        raise InputError(f"{item.url}: {error.reason}; is there a network?") from None
    except (OSError, http.client.HTTPException):
        # Cut off while reading; what came is in the part.
        return False
    return total is None or _size(part) == total


class _TooLong(Exception):
    """More came than a file may have."""


def _most(item: Download, total: int | None, folder: Path) -> int:
    """Return the largest size of a file in bytes: known, the server's, or the free disk."""
    known = [size for size in (item.size, total) if size is not None]
    return min(known) if known else shutil.disk_usage(folder).free - SPARED


def _after_416(part: Path, content_range: str) -> bool:
    """Asked from beyond the end: whole when the part is as long as the file, else start anew."""
    match = re.fullmatch(r"bytes \*/(\d+)", content_range)
    if match and int(match[1]) == _size(part):
        return True
    part.unlink()
    return False


def _content_range(text: str, url: str) -> tuple[int, int | None]:
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", text)
    if match is None:
        raise InputError(f"{url}: the server's Content-Range is {text!r}; fetch it by hand")
    return int(match[1]), None if match[2] == "*" else int(match[2])


def _version(part: Path) -> Path:
    return part.with_name(f"{part.name}.version")


def _keep_version(part: Path, headers: Any) -> None:
    tag = headers.get("ETag", "")
    # A weak tag is no promise of the same bytes, and servers refuse it in If-Range.
    version = headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag
    if version:
        _version(part).write_text(version)
    else:
        _version(part).unlink(missing_ok=True)


def _wrong(path: Path, item: Download) -> str:
    """Return the fault of a whole file; empty when there is none."""
    if item.size is not None and _size(path) != item.size:
        return f"has {_size(path)} bytes, not {item.size}"
    if item.sha256 is None:
        return ""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != item.sha256.lower():
        return f"its SHA-256 is {digest.hexdigest()}, not {item.sha256}"
    return ""


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0

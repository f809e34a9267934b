"""What code does to files, network and processes while a block runs, seen by an audit hook."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WATCHED = ("socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "urllib.")
CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "shutil.")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC

_seen: list[list[str]] = []


def _hook(event: str, arguments: tuple) -> None:
    if not _seen:
        return
    if event == "open":
        path, mode, flags = arguments
        writes = (flags or 0) & WRITING or (isinstance(mode, str) and set(mode) & set("wax+"))
        if writes:
            _seen[-1].append(f"open {path!r} {mode}")
    elif event.startswith((*WATCHED, *CHANGES)):
        _seen[-1].append(f"{event} {arguments!r:.200}")


# A hook cannot be taken away again; outside of a block it returns at once.
sys.addaudithook(_hook)


@contextmanager
def watched(allowed: tuple[Path, ...] = ()) -> Iterator[list[str]]:
    """Yields the list of what the block did: writes, connections, processes.

    Args:
        allowed: folders that may be written to.
    """
    found: list[str] = []
    _seen.append(found)
    try:
        yield found
    finally:
        _seen.remove(found)
        kept = [line for line in found if not any(str(path) in line for path in allowed)]
        # Bytecode of modules that are imported for the first time.
        found[:] = [line for line in kept if "__pycache__" not in line]

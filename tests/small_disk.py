"""Small disks that get full, read-only or lost."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest


def _mount(*words: object) -> None:
    """Mount, or skip the test where that is not permitted."""
    done = subprocess.run(["mount", *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no right to mount a small file system here: {done.stderr.strip()}")


@contextmanager
def disk(folder: Path, size: str = "50m") -> Iterator[Path]:
    """A disk of its own at a new folder, as long as the block runs."""
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def second_way(folder: Path, other: Path) -> Iterator[Path]:
    """The disk at a further folder, which `lose` takes away while its files stay at the first."""
    other.mkdir(exist_ok=True)
    _mount("--bind", folder, other)
    try:
        yield other
    finally:
        # Lost already in most tests.
        subprocess.run(["umount", "-l", str(other)], capture_output=True, check=False)


def lose(folder: Path) -> None:
    """Take a disk away under the feet of who uses it."""
    subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder: Path, how: str) -> None:
    """Change a disk: `ro`, `rw`, `size=50m`."""
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Let nothing more fit on a disk: a file that takes all room, which is returned."""
    path = folder / "filler"
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return path


def after(monkeypatch: Any, target: Any, name: str, count: int, act: Callable[[], Any]) -> None:
    """Let something happen after so many calls of a function, once."""
    original, calls = getattr(target, name), []

    def call(*args: Any, **kwargs: Any) -> Any:
        found = original(*args, **kwargs)
        calls.append(args)
        if len(calls) == count:
            act()
        return found

    monkeypatch.setattr(target, name, call)

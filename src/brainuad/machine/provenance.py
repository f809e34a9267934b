"""Command, software and device of a process, as its record needs them to repeat it."""

import importlib.metadata
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from brainuad import __version__

PACKAGES = (
    "torch",
    "lightning",
    "monai",
    "numpy",
    "scipy",
    "SimpleITK",
    "nibabel",
    "nilearn",
    "hydra-core",
)


def describe() -> dict[str, Any]:
    """Return command, commit, versions and device of this process, as plain values."""
    commit, dirty = _git()
    return {
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "commit": commit,
        "dirty": dirty,
        "versions": {"brainuad": __version__} | {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
    }


def peak_memory() -> int:
    """Return the peak memory of this process in bytes, on its GPU where it used one."""
    if torch.cuda.is_available() and (found := torch.cuda.max_memory_allocated()):
        return int(found)
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _git() -> tuple[str | None, bool | None]:
    """Return commit of this package's checkout, and whether it has changes; None if installed."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        # An environment may lie in a checkout of another project.
        tracked = [*git, "ls-files", "--error-unmatch", __file__]
        subprocess.run(tracked, capture_output=True, check=True)
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, check=True)
        status = subprocess.run([*git, "status", "--porcelain"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None, None
    return commit.stdout.decode().strip(), bool(status.stdout.strip())

"""Cache of arrays that take long to make and never change, in the user's folder."""

import os
import zipfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np

from brainuad.machine.files import atomic_path
from brainuad.machine.links import follow_no_links


def cache_folder() -> Path:
    """Return the user's cache folder: `BRAINUAD_CACHE`, or `brainuad` where caches belong."""
    own = os.environ.get("BRAINUAD_CACHE")
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "brainuad"
    folder = Path(own) if own else usual
    follow_no_links(folder)
    return folder


def kept_arrays(
    name: str, package: str, make: Callable[[], Mapping[str, np.ndarray]]
) -> Mapping[str, np.ndarray]:
    """Return arrays from the cache; make and keep them the first time.

    A damaged file is made anew. A folder that cannot be written costs the time of making them.

    Args:
        name: name of the file; it contains all that decides the arrays.
        package: package whose data the arrays are made of; its version is part of the name.
        make: function that makes them.
    """
    path = cache_folder() / f"{name}-{package}-{version(package)}.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        arrays = make()
    try:
        with atomic_path(path) as temporary, temporary.open("wb") as target:
            np.savez(target, allow_pickle=False, **arrays)
    except OSError:
        # A home that is read-only or full.
        pass
    return arrays

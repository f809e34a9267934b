"""Cache of arrays that take long to make and never change, in the user's folder."""

import os
import zipfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np

from brainuad.errors import CannotWrite, InputError
from brainuad.machine.files import atomic_path
from brainuad.machine.limits import require_folder
from brainuad.machine.links import follow_no_links
from brainuad.machine.temporary import scratch_folder
from brainuad.machine.user import home_folder


def cache_folder() -> Path | None:
    """Return the user's cache folder: `BRAINUAD_CACHE`, or `brainuad` where caches belong.

    None where neither is set and the user has no home.
    """
    home = home_folder()
    if own := os.environ.get("BRAINUAD_CACHE"):
        folder = Path(own)
    elif shared := os.environ.get("XDG_CACHE_HOME"):
        folder = Path(shared) / "brainuad"
    elif home is not None:
        folder = home / ".cache" / "brainuad"
    else:
        return None
    follow_no_links(folder)
    return folder


def working_folder() -> Path:
    """Return the cache folder where it can be written, otherwise `scratch_folder`."""
    folder = cache_folder()
    if folder is not None:
        try:
            require_folder(folder)
        except (InputError, CannotWrite):
            pass
        else:
            return folder
    return scratch_folder()


def kept_arrays(
    name: str, package: str, make: Callable[[], Mapping[str, np.ndarray]]
) -> Mapping[str, np.ndarray]:
    """Return arrays from the cache; make and keep them the first time.

    A damaged file is made anew. No folder, or one that cannot be written, costs the time of making
    them.

    Args:
        name: name of the file; it contains all that decides the arrays.
        package: package whose data the arrays are made of; its version is part of the name.
        make: function that makes them.
    """
    folder = cache_folder()
    if folder is None:
        return make()
    path = folder / f"{name}-{package}-{version(package)}.npz"
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

"""Contract of a skull stripper: a callable `(volume) -> brain_mask`.

The volume has RAS axes; the mask is `(D, H, W)` bool on its grid. A mask in the source wins over
all of them, and nothing is downloaded.
"""

from collections.abc import Callable
from importlib.util import find_spec

import numpy as np

from brainuad.errors import InputError
from brainuad.types import Volume

SkullStrip = Callable[[Volume], np.ndarray]


def is_installed(module: str) -> bool:
    """Return whether a back end's package is installed; it is not imported."""
    return find_spec(module) is not None


def require(module: str, package: str, extra: str) -> None:
    """Raise an `InputError` that names the extra where a package is not installed."""
    if not is_installed(module):
        raise InputError(
            f"the package {package} is not installed; pip install 'brainuad[{extra}]', or use "
            "another preparation/skullstrip"
        )

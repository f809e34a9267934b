"""brainuad: unsupervised anomaly detection in brain MRI."""

from typing import TYPE_CHECKING, Any

from brainuad.machine.user import name_user
from brainuad.settings import old_imports

__version__ = "0.1.0"
__all__ = ["__version__", "load", "models"]

old_imports.install()
name_user()

if TYPE_CHECKING:
    from brainuad.model.api import load
    from brainuad.shipped import models


def __getattr__(name: str) -> Any:
    # torch and all the rest come with the first model, not with the import.
    if name == "load":
        from brainuad.model.api import load

        return load
    if name == "models":
        from brainuad.shipped import models

        return models
    raise AttributeError(f"module 'brainuad' has no attribute '{name}'")

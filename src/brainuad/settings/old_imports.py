"""Import of modules by their old paths, with a warning; see `moved`."""

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from brainuad.settings.moved import MOVED, ROOT, moved


class OldModules:
    """Finder and loader of old modules; Python calls it only for missing modules.

    Importing `importlib.abc` for its base classes would slow every command down.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec for an old module, or for a package that contained one."""
        name = fullname.removeprefix(ROOT)
        if name == fullname or not any(old == name or old.startswith(f"{name}.") for old in MOVED):
            return None
        return ModuleSpec(fullname, self, is_package=True)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """Let Python create the module."""

    def exec_module(self, module: ModuleType) -> None:
        """Let the module look up its contents at their present place."""
        old = module.__name__

        def lookup(name: str) -> Any:
            new_module, _, leaf = moved(f"{old}.{name}").rpartition(".")
            if name.startswith("__") or new_module == old:
                raise AttributeError(f"module '{old}' has no attribute '{name}'")
            warnings.warn(
                f"{old}.{name} is now {new_module}.{leaf}; the next release drops the old name",
                FutureWarning,
                stacklevel=2,
            )
            return getattr(importlib.import_module(new_module), leaf)

        module.__getattr__ = lookup  # type: ignore[method-assign]


def install() -> None:
    """Make old modules importable."""
    if not any(isinstance(finder, OldModules) for finder in sys.meta_path):
        sys.meta_path.append(OldModules())

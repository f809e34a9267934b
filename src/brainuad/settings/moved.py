"""Old paths of modules and classes, and their present ones.

Configurations in checkpoints, bundles, run folders and users' own files name classes by their
path. `moved` maps the paths of version 0.1 to the present ones. Importing an old module works for
one release, with a warning.
"""

import json
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = "brainuad."

_NAMES: dict[str, Any] = json.loads(
    Path(__file__).with_name("moved.json").read_text(encoding="utf-8")
)
MOVED: dict[str, str] = _NAMES["paths"]
"""Old to new path of modules, and of objects that left their module, both below `brainuad`."""
RENAMED_OPTIONS: dict[str, dict[str, str]] = _NAMES["renamed_options"]
"""Old to present names of options, by configuration group; the old options still exist."""
CHANGED_OPTIONS: dict[str, dict[str, str]] = _NAMES["changed_options"]
"""Options whose meaning changed, and the present name of the old meaning."""

_OLD = {old: new for new, old in MOVED.items()}


def moved(path: str) -> str:
    """Return the present path of a module, or of an object defined in one.

    Args:
        path: dotted path, an old or a present one, for example the `_target_` of a configuration.
    """
    return _renamed(path, MOVED)


def as_before(path: str) -> str:
    """Return the path that version 0.1 had, for fingerprints that must not change."""
    return _renamed(path, _OLD)


def retargeted(config: Any, rename: Any = moved) -> Any:
    """Return a configuration of plain values with every `_target_` renamed."""
    if isinstance(config, dict):
        return {
            key: rename(value)
            if key == "_target_" and isinstance(value, str)
            else retargeted(value, rename)
            for key, value in config.items()
        }
    if isinstance(config, list | tuple):
        return type(config)(retargeted(item, rename) for item in config)
    return config


def targets(config: Any, but: Collection[str] = ()) -> Iterator[str]:
    """Yield every `_target_` of plain values, except below the keys in `but`."""
    if isinstance(config, dict):
        if "_target_" in config:
            yield str(config["_target_"])
        config = [value for key, value in config.items() if key not in but]
    if isinstance(config, list | tuple):
        for value in config:
            yield from targets(value, but)


def present_experiment(name: str) -> str | None:
    """Return the present name of an experiment of version 0.1; None if it is the same."""
    return RENAMED_OPTIONS["experiment"].get(name) or CHANGED_OPTIONS["experiment"].get(name)


def warn_of_options(choices: Mapping[str, Any]) -> None:
    """Print a warning for each option that was chosen by its old name.

    Args:
        choices: option of each configuration group, as Hydra composed them.
    """
    line = "warning: {0}={1} is now {0}={2}; the next release drops the old name"
    for group, table in RENAMED_OPTIONS.items():
        name = choices.get(group)
        if name in table:
            print(line.format(group, name, table[name]), file=sys.stderr)


def _renamed(path: str, table: dict[str, str]) -> str:
    if not path.startswith(ROOT):
        return path
    name = path.removeprefix(ROOT)
    if name in table:
        return ROOT + table[name]
    # Only objects that a module defines itself, because a package may have an old module's name.
    module, _, leaf = name.rpartition(".")
    return f"{ROOT}{table[module]}.{leaf}" if module in table else path

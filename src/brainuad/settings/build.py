"""Build objects from files of others: a card, a recipe of a cohort, a model.

Only the classes and functions in `allowed` are built, by their exact names, and the `nn.Module`s
that our methods and networks define. Nothing else is imported, looked up or interpolated, so a file
cannot name anything that reads, writes or connects. A user's own configuration uses
`brainuad.settings.instantiate` instead.
"""

import inspect
from collections.abc import Collection
from functools import partial
from importlib import import_module
from typing import Any

from brainuad.errors import InputError
from brainuad.settings.allowed import MODEL, MONAI_TRANSFORM_MODULES
from brainuad.settings.fits import fits, misfits
from brainuad.settings.moved import moved, targets

OWN = ("brainuad.methods.", "brainuad.networks.")
"""Packages whose `nn.Module`s may be built."""

TARGET, PARTIAL = "_target_", "_partial_"

IGNORED = ("optimizer", "scheduler")
"""Arguments of a method for training only; a file's are ignored."""


def build(config: Any, allowed: Collection[str] = MODEL, kind: Any = Any) -> Any:
    """Build the object that plain values describe; without a `_target_` they are returned.

    Args:
        config: result of `brainuad.settings.plain.plain`.
        allowed: names that a `_target_` may have.
        kind: required type of the object, as an annotation.

    Raises:
        InputError: another name or kind, or values that the object refuses.
    """
    made = _made(config, allowed)
    if not fits(made, kind):
        said = inspect.formatannotation(kind)
        raise InputError(f"a {type(made).__name__} stands in place of {said}; do not use the file")
    return made


def _made(config: Any, allowed: Collection[str]) -> Any:
    if isinstance(config, list | tuple):
        return [_made(item, allowed) for item in config]
    if not isinstance(config, dict):
        return config
    if TARGET not in config:
        return {key: _made(item, allowed) for key, item in config.items()}
    name = moved(str(config[TARGET]))
    given = {key: item for key, item in config.items() if key not in (TARGET, PARTIAL)}
    if strange := [key for key in given if not key.isidentifier() or key.startswith("_")]:
        raise InputError(f"{name} is given {strange}, which no argument is called")
    make = _found(name, allowed)
    given = {key: _made(item, allowed) for key, item in given.items() if key not in IGNORED}
    # Annotations of other packages may be looser or stricter than the accepted values.
    if make.__module__.startswith("brainuad.") and (wrong := "; ".join(misfits(make, given))):
        raise InputError(f"{name.rpartition('.')[2]} cannot be made of its values: {wrong}")
    try:
        if config.get(PARTIAL) is True:
            inspect.signature(make).bind_partial(**given)
            return partial(make, **given)
        return make(**given)
    except InputError:
        raise
    except Exception as error:
        # A class's error about its values is caused by the file, not by us.
        line = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name.rpartition('.')[2]} cannot be made of its values: {line}") from (
            error
        )


def check_targets(config: Any, allowed: Collection[str], said: str) -> None:
    """Check every `_target_` without building anything.

    Args:
        config: plain values.
        allowed: as in `build`.
        said: name of the source, for the message.

    Raises:
        InputError: a name that is not allowed.
    """
    for target in targets(config, IGNORED):
        name = moved(target)
        if not _is_known(name, allowed):
            raise InputError(
                f"{said} names '{name:.200}', which is not allowed in a file; do not use it"
            )


def _found(name: str, allowed: Collection[str]) -> Any:
    if not _is_known(name, allowed):
        raise InputError(f"_target_ '{name:.200}' is not allowed in a file")
    module, _, leaf = name.rpartition(".")
    try:
        found = getattr(import_module(module), leaf)
    except (ImportError, AttributeError):
        raise InputError(f"_target_ '{name}' cannot be found; use another version") from None
    if name not in allowed and not _defined_where_it_says(name, found):
        raise InputError(f"_target_ '{name}' is not allowed in a file")
    return found


def _is_known(name: str, allowed: Collection[str]) -> bool:
    return name in allowed or _is_own(name, allowed) or _is_monai_transform(name, allowed)


def _is_own(name: str, allowed: Collection[str]) -> bool:
    """Return whether it may be a module of our methods or networks; a new one is in no list."""
    parts = name.split(".")
    return (
        allowed is MODEL
        and name.startswith(OWN)
        and all(part.isidentifier() and not part.startswith("_") for part in parts)
    )


def _is_monai_transform(name: str, allowed: Collection[str]) -> bool:
    """Return whether it may be one of MONAI's transforms of intensities or grids, in a recipe."""
    module, _, leaf = name.rpartition(".")
    return (
        bool(set(MONAI_TRANSFORM_MODULES) & set(allowed))
        and (module in MONAI_TRANSFORM_MODULES or module == "monai.transforms")
        and leaf.isidentifier()
        and not leaf.startswith("_")
    )


def _defined_where_it_says(name: str, found: Any) -> bool:
    """Return whether it is a class of that kind, defined in that module and not imported by it."""
    if name.startswith(OWN):
        from torch import nn

        module, _, _ = name.rpartition(".")
        return (
            isinstance(found, type)
            and issubclass(found, nn.Module)
            and (found.__module__ == module)
        )
    from monai.transforms.transform import Transform

    return (
        isinstance(found, type)
        and issubclass(found, Transform)
        and found.__module__ in MONAI_TRANSFORM_MODULES
    )

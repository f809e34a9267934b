"""Describe a preparation as plain values, for a cohort's record and a model."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any


def recipe_of(thing: Any) -> Any:
    """Return the configuration from which `instantiate` makes a step, or its parts, again.

    Args:
        thing: dataclasses, partials, mappings, sequences, paths and plain values, in one another.
    """
    if is_dataclass(thing) and not isinstance(thing, type):
        kind = type(thing)
        values = {field.name: recipe_of(getattr(thing, field.name)) for field in fields(thing)}
        # As in recipes of versions without this field.
        values = {name: value for name, value in values.items() if value != {}}
        return {"_target_": f"{kind.__module__}.{kind.__qualname__}", **values}
    if isinstance(thing, partial):
        made = thing.func
        values = {name: recipe_of(value) for name, value in thing.keywords.items()}
        name = f"{made.__module__}.{getattr(made, '__qualname__', '')}"
        return {"_target_": name, "_partial_": True, **values}
    if isinstance(thing, Mapping):
        return {name: recipe_of(value) for name, value in thing.items()}
    if isinstance(thing, Path):
        return str(thing)
    if isinstance(thing, list | tuple):
        return [recipe_of(item) for item in thing]
    return thing

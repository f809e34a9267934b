"""A frozen dataclass from plain values, which somebody else may have written."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from brainuad.errors import InputError
from brainuad.settings.fits import misfits

Kind = TypeVar("Kind")


def from_plain(kind: type[Kind], values: Any, where: str) -> Kind:
    """Return the dataclass that has these values.

    Args:
        kind: dataclass.
        values: field to value, as JSON has them: lists become tuples.
        where: file that holds them, for the message.

    Raises:
        InputError: an unknown or missing key, or a value that does not fit its annotation.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{where}: expected an object")
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    needed = {n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING}
    unknown, missing = sorted(values.keys() - known), sorted(needed - values.keys())
    if unknown or missing:
        raise InputError(f"{where}: unknown keys {unknown}, missing keys {missing}")
    given = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    if wrong := list(misfits(kind, given)):
        raise InputError(f"{where}: {'; '.join(wrong)}")
    return kind(**given)


def known_values(kind: Any, values: Any, where: str) -> dict[str, Any]:
    """Return the values of a dataclass's fields; null stands for a value that is not known.

    Args:
        kind: dataclass.
        values: field to value, and keys of other versions.
        where: file that holds them, for the message.

    Raises:
        InputError: not an object.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{where}: expected an object")
    names = {entry.name for entry in fields(kind)}
    return {key: value for key, value in values.items() if key in names and value is not None}


def picked(kind: type[Kind], values: Mapping[str, float]) -> Kind | None:
    """Return the dataclass whose fields these values hold; None where one is missing."""
    known = fields(kind)  # type: ignore[arg-type]
    if not {field.name for field in known if field.default is MISSING} <= values.keys():
        return None
    return kind(**{field.name: values[field.name] for field in known if field.name in values})

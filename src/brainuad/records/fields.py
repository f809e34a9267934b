"""A frozen dataclass from plain values, which somebody else may have written."""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from brainuad.errors import InputError

Kind = TypeVar("Kind")


def from_plain(kind: type[Kind], values: Any, where: str) -> Kind:
    """Return the dataclass that has these values.

    Args:
        kind: frozen dataclass of plain values, `X | None`, `tuple[X, ...]`, `Mapping[str, X]` and
            further dataclasses.
        values: as JSON has them.
        where: file that holds them, and the remedy, for the message.

    Raises:
        InputError: an unknown or missing key, or a value of another type.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{where}: expected an object")
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    needed = {n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING}
    unknown, missing = sorted(values.keys() - known), sorted(needed - values.keys())
    if unknown or missing:
        raise InputError(f"{where}: unknown keys {unknown}, missing keys {missing}")
    hints = get_type_hints(kind)
    return kind(**{name: _value(hints[name], values[name], f"{where}: {name}") for name in values})


def _value(hint: Any, value: Any, where: str) -> Any:
    inner = get_args(hint)
    if NoneType in inner:
        return None if value is None else _value(inner[0], value, where)
    if is_dataclass(hint) and isinstance(hint, type):
        return from_plain(hint, value, where)
    if get_origin(hint) is tuple and isinstance(value, list | tuple):
        return tuple(_value(inner[0], item, where) for item in value)
    if get_origin(hint) is Mapping and isinstance(value, Mapping):
        return {key: _value(inner[1], item, f"{where}.{key}") for key, item in value.items()}
    if hint is Any:
        return value
    expected = {float: float | int}.get(hint, hint)
    # True is an int.
    if not inner and isinstance(value, expected) and (hint is bool or not isinstance(value, bool)):
        return value
    raise InputError(f"{where} is {value!r:.60}, expected {getattr(hint, '__name__', hint)}")

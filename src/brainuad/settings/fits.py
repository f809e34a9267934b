"""Check that a plain value, or the object made of it, fits the annotation of an argument.

Python does not check annotations, so a card with a text in place of a number would become an object
that fails when it is used. Lists are accepted for tuples, because JSON has no tuples, and integers
for floats.
"""

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin


def misfits(make: Callable[..., Any], given: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each argument that does not fit.

    Args:
        make: class or function; parameters without annotation, or with one for type checkers only,
            accept anything.
        given: arguments by name.
    """
    for name, parameter in parameters(make).items():
        known = parameter.annotation
        if name in given and known is not parameter.empty and not fits(given[name], known):
            said = inspect.formatannotation(known)
            yield f"{name} is {' '.join(repr(given[name]).split()):.60}, not {said:.80}"


def parameters(make: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters of a class or function; by `**` a subclass has those of its bases."""
    found = dict(inspect.signature(make).parameters)
    for base in make.__mro__[1:-1] if isinstance(make, type) else ():
        if any(one.kind is one.VAR_KEYWORD for one in found.values()):
            found = {**inspect.signature(base).parameters, **_named(found)}
    return found


def _named(found: Mapping[str, inspect.Parameter]) -> dict[str, inspect.Parameter]:
    return {name: one for name, one in found.items() if one.kind is not one.VAR_KEYWORD}


def fits(value: Any, known: Any) -> bool:
    """Return whether a value fits an annotation."""
    kind, inner = get_origin(known) or known, get_args(known)
    if check := CHECKS.get(kind):
        return check(value, inner)
    if not isinstance(kind, type):
        # For example a name that is imported for type checkers only.
        return True
    if getattr(kind, "_is_protocol", False):
        return all(hasattr(value, name) for name in _members(kind))
    return isinstance(value, kind)


def _members(protocol: type) -> list[str]:
    """Return the member names of a protocol."""
    own = [one for one in protocol.__mro__ if getattr(one, "_is_protocol", False)]
    names = [name for one in own for name in (*vars(one), *vars(one).get("__annotations__", ()))]
    return [name for name in names if name == "__call__" or not name.startswith("_")]


def _is_tuple(value: Any, kinds: tuple[Any, ...]) -> bool:
    if not isinstance(value, list | tuple):
        return False
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return all(fits(one, kinds[0]) for one in value)
    return not kinds or (len(value) == len(kinds) and all(map(fits, value, kinds)))


def _is_list(value: Any, kinds: tuple[Any, ...]) -> bool:
    return isinstance(value, list | tuple) and all(fits(one, kinds[0]) for one in value if kinds)


def _is_table(value: Any, kinds: tuple[Any, ...]) -> bool:
    return isinstance(value, Mapping) and all(
        fits(key, kinds[0]) and fits(one, kinds[1]) for key, one in value.items() if kinds
    )


def _is_any_of(value: Any, kinds: tuple[Any, ...]) -> bool:
    return any(fits(value, kind) for kind in kinds)


def _is_number(*types: type) -> Callable[[Any, tuple[Any, ...]], bool]:
    return lambda value, _: isinstance(value, types) and not isinstance(value, bool)


CHECKS: dict[Any, Callable[[Any, tuple[Any, ...]], bool]] = {
    **dict.fromkeys((Union, UnionType), _is_any_of),
    **dict.fromkeys((list, Sequence, Collection), _is_list),
    **dict.fromkeys((dict, Mapping), _is_table),
    Any: lambda value, _: True,
    tuple: _is_tuple,
    Literal: lambda value, words: value in words,
    None: lambda value, _: value is None,
    int: _is_number(int),
    float: _is_number(int, float),
    Path: lambda value, _: isinstance(value, str | Path),
    Callable: lambda value, _: callable(value),
}
"""Check by annotation without its brackets; the check gets their content."""

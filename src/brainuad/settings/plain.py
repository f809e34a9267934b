"""Check that the content of a file is plain data: JSON values, finite and of limited size.

A card, a recipe or a saved configuration may come from a stranger. Every reader calls `plain`
first. Interpolations (`${…}`) are refused, because OmegaConf would read environment variables or
call functions.
"""

import math
from typing import Any

DEPTH = 40
"""Deepest accepted nesting."""

ITEMS = 1_000_000
"""Largest number of values in one file. A card lists subjects and statistics of its training
cohort.
"""

LETTERS = 100_000
"""Largest length of a text."""


def plain(value: Any) -> Any:
    """Return a copy of plain values; tuples become lists, as JSON has them.

    Raises:
        ValueError: another type, a number that is not finite, an interpolation, or too many values.
    """
    return _copied(value, "", [ITEMS])


def _copied(value: Any, where: str, left: list[int], depth: int = 0) -> Any:
    left[0] -= 1
    if depth > DEPTH or left[0] < 0:
        raise ValueError(f"{where or 'it'} is nested too deeply or holds too many values")
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{where} is {value}, not a finite number")
        return value
    if isinstance(value, str):
        if "${" in value or len(value) > LETTERS:
            raise ValueError(f"{where} holds an interpolation or too long a text")
        return value
    if isinstance(value, list | tuple):
        return [_copied(v, f"{where}[{i}]", left, depth + 1) for i, v in enumerate(value)]
    if isinstance(value, dict):
        found = {}
        for key, item in value.items():
            if not isinstance(key, str) or "${" in key:
                raise ValueError(f"{where or 'it'} has the key {key!r:.60}, which is no name")
            inner = f"{where}.{key}" if where else key
            found[key] = _copied(item, inner, left, depth + 1)
        return found
    raise ValueError(f"{where or 'it'} is a {type(value).__name__}, no plain value")

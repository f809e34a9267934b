"""Check that what a file says is plain data: values that JSON has, finite, and of sane size.

A card, a recipe or a saved configuration may come from a stranger. Everything that reads one puts
it through `plain` first. Interpolations (`${…}`) are refused, because OmegaConf would read
environment variables or call functions for them.
"""

import math
from typing import Any

DEPTH = 40
"""Deepest nesting that is read."""

ITEMS = 1_000_000
"""Most values in one file. A card lists subjects and statistics of its training cohort."""

LETTERS = 100_000
"""Longest text."""


def plain(value: Any) -> Any:
    """Return a copy of plain values; tuples become lists, as JSON has them.

    Raises:
        ValueError: anything else, a number that is not finite, an interpolation, or too much.
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

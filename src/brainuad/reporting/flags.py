"""Flags of a scan: what to look at in one short sentence, and the numbers behind it."""

from collections.abc import Iterable
from typing import NamedTuple


class Flag(NamedTuple):
    """A reason to look at a scan.

    Attributes:
        look: what to look at.
        numbers: values that raised the flags with this sentence, in words.
    """

    look: str
    numbers: str = ""


def flags_of(texts: Iterable[str]) -> tuple[Flag, ...]:
    """Return the flags of a scan, each sentence once.

    Args:
        texts: flags as the preparation and the models write them, `what to look at (numbers)`.
    """
    found: dict[str, list[str]] = {}
    for text in texts:
        look, bracket, numbers = text.strip().partition(" (")
        whole = bracket and numbers.endswith(")")
        behind = found.setdefault(look if whole else text.strip(), [])
        behind += [numbers[:-1]] if whole else []
    return tuple(Flag(look, "; ".join(behind)) for look, behind in found.items() if look)

"""Text of unknown origin, made safe for a terminal, a table, Markdown and figures.

HTML pages are made from templates, which escape, see `brainuad.reporting.pages.render`.
"""

import unicodedata
from typing import TYPE_CHECKING, Any

from brainuad.machine.user import home_folder

if TYPE_CHECKING:
    import pandas as pd

FORMULAS = "=+-@"
"""First characters of cells that a spreadsheet computes."""

_MARKDOWN = "<>&|`[]"


def say(*words: object, **options: Any) -> None:
    """Print, as `print` does, with control characters made visible."""
    print(*(visible(str(word)) for word in words), **options)


def visible(text: str, kept: str = "\n\t") -> str:
    r"""Return text with control characters, escape codes and the like as `\x1b`."""
    return "".join(c if c in kept or _has_shape(c) else _code(c) for c in text)


def quantity(number: int, noun: str) -> str:
    """Return a number with its noun, as `1 scan` and `2 scans`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def one_line(text: object) -> str:
    """Return text as one line, with control characters made visible."""
    return visible(" ".join(str(text).split()))


def cell(value: Any) -> Any:
    """Return the value of a table's cell; text that a spreadsheet would compute gets a `'`."""
    if not isinstance(value, str):
        return value
    text = visible(value, "")
    return f"'{text}" if text.startswith(tuple(FORMULAS)) else text


def csv_text(table: "pd.DataFrame", **options: Any) -> str:
    """Return a table as CSV, its texts by `cell`; options are those of `DataFrame.to_csv`."""
    safe = table.copy()
    for name in table:
        if table[name].dtype.kind not in "biufM":
            safe[name] = [cell(value) for value in table[name]]
    return str(safe.to_csv(index=False, lineterminator="\n", **options))


def markdown(text: object) -> str:
    """Return text that Markdown shows as it is, on one line, within a table too."""
    return "".join(f"&#{ord(c)};" if c in _MARKDOWN else c for c in one_line(text))


def figure_text(text: object) -> str:
    r"""Return text that matplotlib draws as it is: `$x$` is no formula."""
    return visible(str(text)).replace("$", r"\$")


def without_home(text: object) -> str:
    """Return text in which the user's own folder is `~`."""
    home = str(home_folder() or "")
    return str(text).replace(home, "~") if len(home) > 1 else str(text)


def _has_shape(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _code(character: str) -> str:
    return character.encode("unicode_escape").decode()

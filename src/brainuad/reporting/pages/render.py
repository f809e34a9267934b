"""Pages from the templates in `reporting/templates`. Each value is escaped, but for `Markup`."""

import base64
import hashlib
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from brainuad.machine.text import quantity, without_home


@dataclass(frozen=True)
class Link:
    """A cell that leads to another place of the page.

    Attributes:
        text: name of the place.
        anchor: its identifier.
    """

    text: str
    anchor: str


@dataclass(frozen=True)
class Table:
    """A table that scrolls by itself on a narrow screen.

    Attributes:
        header: titles of the columns.
        rows: cells; None is shown as a dash. The first cell heads its row.
        caption: text above the table.
        text_columns: columns of words, aligned on the left.
        sortable: let the reader sort by a column.
        own: first cell of the row to mark.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str
    text_columns: Collection[int] = (0,)
    sortable: bool = False
    own: str = ""


@dataclass(frozen=True)
class Plot:
    """A drawing with its caption.

    Attributes:
        svg: `<svg>` element that `drawing.curves.to_svg` made.
        caption: text below the drawing.
    """

    svg: str
    caption: str = ""


def render(template: str, **values: Any) -> str:
    """Return a page.

    Args:
        template: file in `reporting/templates`.
        values: variables of the template.
    """
    return environment().get_template(template).render(values)


def decimals(value: float | None, digits: int = 3) -> str | None:
    """Return a number as text; None where it is not defined."""
    return None if value is None or math.isnan(value) else f"{value:.{digits}f}"


@lru_cache
def environment() -> Environment:
    """Return the environment of the templates, which knows the page's style and script."""
    made = Environment(
        loader=PackageLoader("brainuad.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {
        "quantity": quantity,
        "without_home": without_home,
        "base64": lambda content: base64.b64encode(content).decode(),
    }
    script = _text("page.js")
    # The page's own script runs and no other, whatever a name slips in.
    digest = hashlib.sha256(script.encode()).digest()
    made.globals |= {
        "style": Markup(_text("page.css")),
        "script": Markup(script),
        "digest": base64.b64encode(digest).decode(),
    }
    return made


def _text(name: str) -> str:
    file = resources.files("brainuad.reporting") / "templates" / name
    return file.read_text(encoding="utf-8")

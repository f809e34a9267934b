"""The page: small pieces, and the template, style and script in `static/`.

Every piece takes plain text and escapes it; only arguments named `body` or `cells` with `Markup`
hold HTML already.
"""

import base64
import hashlib
import html
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib import resources
from string import Template


class Markup(str):
    """Text that is HTML already."""


def escape(text: object) -> Markup:
    """Text as HTML; `Markup` stays as it is."""
    return text if isinstance(text, Markup) else Markup(html.escape(str(text)))


def number(value: float | None, digits: int = 3) -> Markup:
    """A score, or a dash that a screen reader names."""
    if value is None or math.isnan(value):
        return Markup('<span class="none" aria-label="not defined">–</span>')
    return Markup(f"{value:.{digits}f}")


def two_lines(cell: str) -> Markup:
    """A score with its interval below it: `0.5 ± 0.1 [0.4, 0.6]`."""
    value, bracket, interval = cell.partition(" [")
    if not bracket:
        return escape(cell)
    return Markup(f'{escape(value)}<br><span class="soft">[{escape(interval)}</span>')


def section(title: str, *body: str, anchor: str) -> Markup:
    """A part of the page under a heading of the second level."""
    anchor = escape(anchor)
    heading = f'<h2 id="{anchor}-title">{escape(title)}</h2>'
    inner = "".join(body)
    return Markup(
        f'<section id="{anchor}" aria-labelledby="{anchor}-title">{heading}{inner}</section>'
    )


def paragraph(text: object, kind: str = "") -> Markup:
    """A paragraph; `kind` is a class of the style."""
    attribute = f' class="{escape(kind)}"' if kind else ""
    return Markup(f"<p{attribute}>{escape(text)}</p>")


def table(
    header: Sequence[object],
    rows: Iterable[Sequence[object]],
    caption: str,
    text_columns: Collection[int] = (0,),
    sortable: bool = False,
    row_class: Sequence[str] = (),
) -> Markup:
    """A table that scrolls by itself on a narrow screen; the first cell of a row heads it."""
    head = "".join(
        f'<th scope="col"{" class=text" if i in text_columns else ""}>{escape(cell)}</th>'
        for i, cell in enumerate(header)
    )
    lines = []
    for index, row in enumerate(rows):
        cells = "".join(
            f'<th scope="row">{escape(cell)}</th>'
            if i == 0
            else f"<td{' class=text' if i in text_columns else ''}>{escape(cell)}</td>"
            for i, cell in enumerate(row)
        )
        kind = row_class[index] if index < len(row_class) else ""
        attribute = f' class="{escape(kind)}"' if kind else ""
        lines.append(f"<tr{attribute}>{cells}</tr>")
    attribute = " data-sortable" if sortable else ""
    return Markup(
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}">'
        f"<table{attribute}><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def definitions(pairs: Mapping[str, object]) -> Markup:
    """Names with their values."""
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in pairs.items()
    )
    return Markup(f"<dl>{items}</dl>")


def details(
    summary: object, body: str, kind: str = "", anchor: str = "", shown: bool = False
) -> Markup:
    """A part that folds, by keyboard too."""
    attributes = f' class="{escape(kind)}"' if kind else ""
    attributes += f' id="{escape(anchor)}"' if anchor else ""
    attributes += " open" if shown else ""
    return Markup(f"<details{attributes}><summary>{escape(summary)}</summary>{body}</details>")


def picture(jpeg: bytes, alt: str, width: int, height: int) -> Markup:
    """An inlined picture; it scrolls sideways where the screen is narrower than is readable."""
    data = base64.b64encode(jpeg).decode()
    return Markup(
        f'<div class="scroll picture" role="region" tabindex="0" aria-label="pictures">'
        f'<img alt="{escape(alt)}" width="{width}" height="{height}" '
        f'style="max-width:{width}px" src="data:image/jpeg;base64,{data}"></div>'
    )


def card(title: str, value: object, note: object, kind: str = "") -> Markup:
    """A headline number."""
    return Markup(
        f'<div class="card {escape(kind)}"><h3>{escape(title)}</h3>'
        f'<p class="big">{escape(value)}</p>'
        f"<p>{escape(note)}</p></div>"
    )


def grid(body: Iterable[str], kind: str) -> Markup:
    """Cards or plots side by side as the width allows."""
    return Markup(f'<div class="grid {escape(kind)}">{"".join(body)}</div>')


def plot(svg: str, caption: str = "") -> Markup:
    """A figure with its caption."""
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return Markup(f"<figure>{svg}{below}</figure>")


def page(title: str, subtitle: object, parts: Mapping[str, str], body: str) -> str:
    """The whole page.

    Args:
        title: title of the document.
        subtitle: under the heading.
        parts: anchors to titles, for the navigation.
        body: HTML.
    """
    links = "".join(
        f'<a href="#{escape(anchor)}">{escape(name)}</a>' for anchor, name in parts.items()
    )
    script = static("report.js")
    # The page's own script runs and no other, whatever a name slips in.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Template(static("report.html")).substitute(
        title=escape(title),
        subtitle=escape(subtitle),
        nav=links,
        body=body,
        css=static("report.css"),
        js=script,
        digest=digest,
    )


def static(name: str) -> str:
    """Return the text of a file that the page is made of."""
    file = resources.files("brainuad.reporting.pages") / "static" / name
    return file.read_text(encoding="utf-8")

"""The page: a template, its style and small pieces, standard library only.

Every piece takes plain text and escapes it; only arguments named `body` or `cells` with `Markup`
hold HTML already.
"""

import base64
import hashlib
import html
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
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
        title: of the document.
        subtitle: under the heading.
        parts: anchors to titles, for the navigation.
        body: HTML.
    """
    links = "".join(
        f'<a href="#{escape(anchor)}">{escape(name)}</a>' for anchor, name in parts.items()
    )
    # The page's own script runs and no other, whatever a name slips in.
    digest = base64.b64encode(hashlib.sha256(_JS.encode()).digest()).decode()
    return _PAGE.substitute(
        title=escape(title),
        subtitle=escape(subtitle),
        nav=links,
        body=body,
        css=_CSS,
        js=_JS,
        digest=digest,
    )


_PAGE = Template(
    """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:;
 style-src 'unsafe-inline'; script-src 'sha256-$digest'">
<title>$title</title>
<style>$css</style>
</head>
<body>
<header><h1>$title</h1><p>$subtitle</p><nav aria-label="Parts of the report">$nav</nav></header>
<main>$body</main>
<script>$js</script>
</body>
</html>
"""
)

_CSS = """
:root{--bg:#fff;--fg:#1b1f24;--soft:#5b6572;--line:#d9dee4;--tint:#f4f6f8;--accent:#b4520c;
--bad:#a4161a;--badbg:#fdecec}
@media(prefers-color-scheme:dark){:root{--bg:#111418;--fg:#e4e8ed;--soft:#9aa5b1;--line:#2c333b;
--tint:#191e24;--accent:#f0954a;--bad:#ff9c9c;--badbg:#3a1a1c}}
*{box-sizing:border-box}
html{scroll-behavior:smooth;-webkit-text-size-adjust:100%}
@media(prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
body{margin:0 auto;max-width:1120px;padding:28px 20px 64px;background:var(--bg);color:var(--fg);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif;
overflow-wrap:break-word}
h1{font-size:1.9rem;line-height:1.2;margin:0;letter-spacing:-.015em}
header p{margin:.35rem 0 .8rem;color:var(--soft)}
h2{font-size:1.3rem;margin:2.8rem 0 .7rem;padding-top:.9rem;border-top:1px solid var(--line);
letter-spacing:-.01em}
h3{font-size:1rem;margin:0}
p{margin:.5rem 0;max-width:46rem}
a{color:var(--accent)}
nav{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;font-size:.9rem}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
.soft,.none{color:var(--soft)}
.soft{font-size:.9rem}
.alert{border-left:4px solid var(--bad);background:var(--badbg);color:var(--bad);
padding:.7rem 1rem;margin:1.2rem 0;border-radius:4px}
.alert h2{border:0;margin:0;padding:0;font-size:1.05rem}
.alert ul{margin:.4rem 0 0;padding-left:1.2rem}
.note{border-left:4px solid var(--line);padding:.3rem 0 .3rem 1rem;margin:.8rem 0}
.grid{display:grid;gap:14px;margin:1rem 0}
.cards{grid-template-columns:repeat(auto-fit,minmax(215px,1fr));margin-top:1.4rem}
.plots{grid-template-columns:repeat(auto-fit,minmax(min(100%,330px),1fr));gap:20px}
.card{background:var(--tint);border-radius:8px;padding:14px 16px}
.card h3{font-size:.85rem;color:var(--soft);font-weight:600}
.card .big{font-size:2rem;line-height:1.2;font-weight:650;margin:.15rem 0;
font-variant-numeric:tabular-nums;letter-spacing:-.02em}
.card p{font-size:.85rem;margin:.1rem 0;color:var(--soft)}
.card p.big{color:var(--fg)}
.card.lead{box-shadow:inset 0 3px 0 var(--accent)}
.card.lead .big{color:var(--accent)}
figure{margin:0;min-width:0;max-width:560px}
figure svg{display:block;width:100%;height:auto}
figure svg text{font-family:inherit!important}
figcaption{font-size:.88rem;color:var(--soft);margin-top:.2rem}
.scroll{overflow-x:auto;margin:.8rem 0;max-width:100%}
table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums;min-width:100%}
caption{text-align:left;color:var(--soft);padding-bottom:.4rem}
th,td{padding:.34rem .5rem;text-align:right;border-bottom:1px solid var(--line);
white-space:nowrap;font-weight:400}
table[data-sortable] td.text:last-child{white-space:normal;min-width:12em}
thead th{white-space:normal;color:var(--soft);font-weight:600;vertical-align:bottom;
border-bottom-width:2px}
th:first-child,.text{text-align:left}
tbody tr:hover{background:var(--tint)}
tr.own th{font-weight:650}tr.own{background:var(--tint)}
th button{all:unset;cursor:pointer}
th button:focus-visible{outline:2px solid var(--accent)}
th button::after{content:"\\a0↕";opacity:.45}
th[aria-sort=ascending] button::after{content:"\\a0↑";opacity:1}
th[aria-sort=descending] button::after{content:"\\a0↓";opacity:1}
details{margin:.5rem 0}
summary{cursor:pointer;font-weight:600}
details.subject{border-top:1px solid var(--line);margin:0;padding:.7rem 0}
details.subject summary h3{display:inline;font-size:1.05rem;margin-right:.5rem}
.chip{display:inline-block;font-weight:400;background:var(--tint);border-radius:99px;
padding:0 .65rem;font-size:.82rem;color:var(--soft);margin-right:.3rem}
.chip b{color:var(--fg);font-variant-numeric:tabular-nums}
.picture img{display:block;height:auto;width:100%;min-width:700px;border-radius:6px}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:.5rem 1.2rem;
margin:.7rem 0}
.wide dl{grid-template-columns:1fr;gap:.3rem}
.wide dl div{display:grid;grid-template-columns:11rem 1fr}
dt{font-size:.82rem;color:var(--soft)}
dd{margin:0;font-variant-numeric:tabular-nums;min-width:0;overflow-wrap:anywhere}
pre{background:var(--tint);padding:1rem;border-radius:6px;overflow-x:auto;font-size:.82rem;
line-height:1.45}
code{font-size:.9em}
#filter{font:inherit;color:inherit;background:var(--bg);border:1px solid var(--line);
border-radius:6px;padding:.3rem .6rem;margin-left:.5rem;max-width:100%}
@media(max-width:560px){body{padding:18px 14px 48px}h1{font-size:1.5rem}
.cards{grid-template-columns:1fr 1fr}.card{padding:11px 12px}.card .big{font-size:1.55rem}
.wide dl div{grid-template-columns:1fr}th,td{padding:.35rem .5rem}}
@media print{nav,#filter,label,script{display:none}.subject{break-inside:avoid}body{max-width:none}}
"""

_JS = """
for (const table of document.querySelectorAll('table[data-sortable]')) {
  table.querySelectorAll('thead th').forEach((head, column) => {
    const button = document.createElement('button');
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.onclick = () => {
      const up = head.getAttribute('aria-sort') === 'descending' ? 1 : -1;
      table.querySelectorAll('thead th').forEach(other => other.removeAttribute('aria-sort'));
      head.setAttribute('aria-sort', up > 0 ? 'ascending' : 'descending');
      const text = row => row.cells[column].textContent.trim();
      const order = (a, b) => {
        const [x, y] = [parseFloat(text(a)), parseFloat(text(b))];
        if (isNaN(x) !== isNaN(y)) return isNaN(x) ? 1 : -1;
        return up * (isNaN(x) ? text(a).localeCompare(text(b)) : x - y);
      };
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
    };
  });
}
const filter = document.getElementById('filter');
if (filter) {
  filter.parentElement.hidden = false;
  filter.oninput = () => {
    const word = filter.value.toLowerCase();
    for (const item of document.querySelectorAll('#subjects tbody tr, details.subject')) {
      const own = item.matches('tr') ? item : item.querySelector('summary');
      item.hidden = !own.textContent.toLowerCase().includes(word);
    }
  };
}
"""

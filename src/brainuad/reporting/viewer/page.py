"""Writes the page: its list as HTML, everything else as files beside it that it loads when asked.

A page from disk may not fetch, so what it loads are scripts and pictures.
"""

import re
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from string import Template
from urllib.parse import quote

from rich.progress import track

from brainuad.errors import InputError
from brainuad.machine.files import remove, write_text
from brainuad.machine.text import without_home
from brainuad.reporting.pages.html import Markup, escape
from brainuad.reporting.viewer.rows import ScanRow, counted, read_rows
from brainuad.reporting.viewer.scan import key_of, write_scan

FOLDER = "viewer"
_STATIC = ("page.css", "viewer.js", "page.js", "niivue.js", "niivue.LICENSE.txt")


def write_page(out: Path) -> Path:
    """Makes `OUT/index.html` over what `brainuad-predict` left in `OUT`.

    What the page shows of a scan lies in `OUT/viewer/` and is made only when it is missing or its
    inputs have changed; what belongs to no scan any more is removed. One scan is in memory at a
    time. A scan whose files cannot be read is listed with the reason, the others are done.

    Args:
        out: folder with `subjects.csv` and, where there are findings, `findings.csv`.

    Returns:
        Path of the page.

    Raises:
        InputError: a table is missing or lacks a column.
    """
    rows = read_rows(out)
    folder = out / FOLDER
    for name in _STATIC:
        path, text = folder / name, _read(name)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)
    cards = []
    for row in track(rows, description="page", transient=True):
        problem = ""
        if row.can_be_opened:
            try:
                write_scan(row, out, folder / "scans")
            except InputError as error:
                problem = f"cannot be shown: {error}"
        cards.append(_card(row, problem))
    _remove_others(folder / "scans", {key_of(row.scan_id) for row in rows if row.can_be_opened})
    page = Template(_read("index.html")).substitute(
        cards="\n".join(cards),
        total=len(rows),
        summary=escape(counted(rows)),
        version=escape(version("brainuad")),
    )
    write_text(out / "index.html", page)
    return out / "index.html"


def _card(row: ScanRow, problem: str) -> Markup:
    """An entry of the list; a link where there is something to open."""
    opens = row.can_be_opened and not problem
    reason = " · ".join(without_home(text) for text in (row.said, problem) if text)
    keys = {"score": row.numbers["score"], "percentile": row.numbers["percentile"],
            "volume": row.numbers["volume_mm3"], "findings": row.numbers["n_findings"],
            "name": row.scan_id, "status": row.status}  # fmt: skip
    data = " ".join(
        f'data-{name}="{escape("" if value is None else value)}"' for name, value in keys.items()
    )
    source = f"{FOLDER}/scans/{key_of(row.scan_id)}"
    words = f'<span class="name">{escape(row.scan_id)}</span>'
    about = " · ".join(text for text in (row.subject, row.sequence) if text and text != row.scan_id)
    words += f'<span class="soft">{escape(about)}</span>' if about else ""
    words += f'<span class="facts">{_facts(row)}</span>'
    if row.status != "done" or reason:
        words += (
            f'<span class="reason"><b class="state {row.status}">{row.status}</b> '
            f"{escape(reason)}</span>"
        )
    inner = f'<span class="words">{words}</span>'
    if opens:
        picture = f'<img src="{source}.jpg" alt="" width="112" height="112" loading="lazy">'
        link = quote(row.scan_id, safe="")
        inner = f'<a href="#{link}" data-script="{source}.js">{picture}{inner}</a>'
    else:
        inner = f'<div class="closed">{inner}</div>'
    return Markup(f"<li {data}>{inner}</li>")


def _facts(row: ScanRow) -> str:
    numbers = row.numbers
    facts = []
    if numbers["score"] is not None:
        facts.append(f"score <b>{numbers['score']:.3g}</b>")
    if numbers["percentile"] is not None:
        facts.append(f"percentile <b>{numbers['percentile']:.0f}</b>")
    if numbers["n_findings"] is not None:
        facts.append(f"findings <b>{numbers['n_findings']:.0f}</b>")
    if numbers["volume_mm3"] is not None:
        facts.append(f"<b>{numbers['volume_mm3'] / 1000:.1f}</b> mL")
    return "".join(f"<span>{fact}</span>" for fact in facts)


def _read(name: str) -> str:
    file = resources.files("brainuad.reporting.viewer") / "static" / name
    return file.read_text(encoding="utf-8")


def _remove_others(folder: Path, keys: set[str]) -> None:
    for path in folder.glob("*"):
        # Named as `key_of` does.
        ours = re.fullmatch(r"[0-9a-f]{16}\.(js|jpg)", path.name)
        if ours and path.stem not in keys:
            remove(path)

"""The page: its list as HTML, everything else as files beside it that it loads when asked.

A page from disk may not fetch, so what it loads are scripts and pictures.
"""

import re
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import version
from pathlib import Path

from rich.progress import track

from brainuad.errors import InputError
from brainuad.machine.files import remove, write_text
from brainuad.machine.text import quantity, without_home
from brainuad.reporting.flags import Flag, flags_of
from brainuad.reporting.pages.render import render
from brainuad.reporting.viewer.rows import ScanRow, counted, read_rows
from brainuad.reporting.viewer.scan import key_of, write_scan

FOLDER = "viewer"
_STATIC = ("page.css", "viewer.js", "page.js", "niivue.js", "niivue.LICENSE.txt")


@dataclass(frozen=True)
class Card:
    """An entry of the list.

    Attributes:
        row: the scan.
        source: its files, without the suffix; empty where there is nothing to open.
        about: subject and sequence, where the name of the scan does not say them.
        flags: what to look at.
        notes: oddities of its files.
    """

    row: ScanRow
    source: str
    about: str
    flags: tuple[Flag, ...]
    notes: str


def write_page(out: Path) -> Path:
    """Write `OUT/index.html` over what `brainuad-predict` left in `OUT`.

    What the page shows of a scan lies in `OUT/viewer/`. It is made only when it is missing or its
    inputs have changed, and removed with the scan. One scan is in memory at a time. A scan whose
    files cannot be read is listed with the reason, the others are done.

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
    page = render(
        "viewer.html",
        title=f"Findings in {quantity(len(rows), 'scan')}",
        cards=cards,
        summary=counted(rows),
        version=version("brainuad"),
    )
    write_text(out / "index.html", page)
    return out / "index.html"


def _card(row: ScanRow, problem: str) -> Card:
    named = (row.subject, row.sequence)
    flags = tuple(Flag(*map(without_home, flag)) for flag in (*row.flags, *flags_of([problem])))
    return Card(
        row,
        f"{FOLDER}/scans/{key_of(row.scan_id)}" if row.can_be_opened and not problem else "",
        " · ".join(text for text in named if text and text != row.scan_id),
        flags,
        without_home(row.notes),
    )


def _read(name: str) -> str:
    file = resources.files("brainuad.reporting.viewer") / "static" / name
    return file.read_text(encoding="utf-8")


def _remove_others(folder: Path, keys: set[str]) -> None:
    for path in folder.glob("*"):
        # Named as `key_of` does.
        ours = re.fullmatch(r"[0-9a-f]{16}\.(js|jpg)", path.name)
        if ours and path.stem not in keys:
            remove(path)

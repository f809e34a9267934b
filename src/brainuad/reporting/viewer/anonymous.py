"""The page of predictions without pictures, names and places: one file with numbers."""

from pathlib import Path

from brainuad.machine.files import write_text
from brainuad.reporting.pages import html
from brainuad.reporting.viewer.rows import counted, read_rows

DIGITS = {"score": 4, "percentile": 0, "n_findings": 0, "volume_mm3": 0}
"""Numbers of `ScanRow.numbers` that the page tells, and their decimals."""


def write_anonymous_page(out: Path) -> Path:
    """Makes `OUT/index.html` with a line per scan: its state and its numbers.

    Scans become numbers in the order of their scores. A reason, which may hold a path or a name, is
    not told. `OUT/viewer/` is neither used nor changed.

    Args:
        out: folder that `brainuad-predict` left.

    Returns:
        Path of the page.

    Raises:
        InputError: a table is missing or lacks a column.
    """
    rows = read_rows(out)
    lines = [
        [
            *(f"scan {index}", row.status),
            *(html.number(row.numbers[name], digits) for name, digits in DIGITS.items()),
        ]
        for index, row in enumerate(rows, 1)
    ]
    header = ["scan", "state", "score", "percentile", "findings", "marked, mm³"]
    words = (
        "This page is anonymous: it leaves out pictures, names, places and reasons. Score: the "
        "scan's anomaly score. Percentile: the share of healthy validation subjects of the model "
        "that score lower, in per cent."
    )
    table = html.table(header, lines, "Scans", (0, 1), sortable=True)
    body = html.section("Scans", html.paragraph(words, "soft"), table, anchor="scans")
    path = out / "index.html"
    title = f"Findings in {len(rows)} scans"
    write_text(path, html.page(title, counted(rows), {"scans": "Scans"}, body))
    return path

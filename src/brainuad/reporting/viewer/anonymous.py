"""Page of predictions without pictures, names and places: one file with numbers."""

from pathlib import Path

from brainuad.machine.files import write_text
from brainuad.machine.text import quantity
from brainuad.reporting.pages.render import Table, decimals, render
from brainuad.reporting.viewer.rows import counted, read_rows


def write_anonymous_page(out: Path) -> Path:
    """Write `OUT/index.html` with a line per scan: its state and its numbers.

    Scans become numbers in the order of their scores. A reason, which may hold a path or a name, is
    left out. `OUT/viewer/` is neither used nor changed.

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
            *(decimals(row.numbers.score, 4), decimals(row.numbers.percentile, 0)),
            *(decimals(row.numbers.n_findings, 0), decimals(row.numbers.volume_mm3, 0)),
        ]
        for index, row in enumerate(rows, 1)
    ]
    header = ["scan", "state", "score", "percentile", "findings", "marked, mm³"]
    page = render(
        "anonymous_predictions.html",
        title=f"Findings in {quantity(len(rows), 'scan')}",
        subtitle=counted(rows),
        scans=Table(header, lines, "Scans", (0, 1), sortable=True),
    )
    write_text(out / "index.html", page)
    return out / "index.html"

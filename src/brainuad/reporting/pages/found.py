"""A prediction as a piece of HTML, for a notebook: picture, flags and table of findings."""

from collections.abc import Mapping, Sequence

import pandas as pd

from brainuad.reporting.drawing.panels import Picture
from brainuad.reporting.flags import flags_of
from brainuad.reporting.pages.render import Table, decimals, render

MOST_ROWS = 10
"""Number of findings that the table shows."""


def found_html(
    name: str,
    picture: Picture | None,
    findings: pd.DataFrame,
    summary: Mapping[str, float],
    flags: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> str:
    """Return the piece of HTML, which loads nothing.

    Args:
        name: name of the scan.
        picture: its planes; None for none.
        findings: one row per finding, as `brainuad.model.findings.find` returns them.
        summary: numbers of the whole scan, by name.
        flags: reasons to doubt that the model suits the scan.
        notes: oddities of its files.
    """
    volume_ml = findings["volume_mm3"].sum() / 1000
    return render(
        "found.html",
        name=name,
        picture=picture,
        summary={key: f"{value:.3g}" for key, value in summary.items()},
        count=len(findings),
        volume=f"{volume_ml:.1f} ml",
        flags=flags_of(flags),
        notes=notes,
        table=_table(findings.head(MOST_ROWS)),
        hidden=max(len(findings) - MOST_ROWS, 0),
    )


def _table(findings: pd.DataFrame) -> Table:
    """Return the table of findings; side, lobe and region only where they are known."""
    words = [name for name in ("side", "lobe", "region") if findings[name].fillna("").any()]
    header = ["finding", "volume, ml", "x, y, z in mm", "peak", "mean", *words]
    rows = []
    for row in findings.to_dict("records"):
        place = ", ".join(f"{row[axis]:.0f}" for axis in ("x_mm", "y_mm", "z_mm"))
        numbers = [decimals(row["volume_mm3"] / 1000, 2), place.replace("-", "−")]
        numbers += [decimals(row["peak"], 2), decimals(row["mean"], 2)]
        rows.append([int(row["finding"]), *numbers, *(row[name] for name in words)])
    return Table(header, rows, "Findings by their highest score")

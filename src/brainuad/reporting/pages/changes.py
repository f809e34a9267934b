"""Page of the changes between two visits: a table and a picture of each pair."""

from dataclasses import dataclass
from pathlib import Path

from brainuad.machine.files import write_text
from brainuad.machine.read import read_json
from brainuad.machine.text import quantity
from brainuad.reporting.drawing.panels import Picture
from brainuad.reporting.pages.render import Table, render


@dataclass(frozen=True)
class PairSection:
    """A section of the page.

    Attributes:
        title: name of the second scan.
        anchor: its identifier on the page.
        summary: numbers of findings, in words.
        changes: findings.
        picture: slices with the largest changes; None to leave it out.
    """

    title: str
    anchor: str
    summary: str
    changes: Table
    picture: Picture | None


def write_changes_page(out: Path, anonymous: bool = False) -> Path:
    """Write `OUT/changes.html` over the pairs of `OUT/changes`; return its path.

    Args:
        out: folder of the results.
        anonymous: leave pictures and places out, and number the pairs.

    Raises:
        InputError: a record of a pair cannot be read.
    """
    records = sorted((out / "changes").glob("[!.]*.json"))
    pairs = [_section(number, path, anonymous) for number, path in enumerate(records, 1)]
    title = f"Changes in {quantity(len(pairs), 'pair')} of scans"
    page = render("changes.html", title=title, subtitle="", pairs=pairs)
    write_text(out / "changes.html", page)
    return out / "changes.html"


def _section(number: int, path: Path, anonymous: bool) -> PairSection:
    record = read_json(path)
    row = record["pair"]
    picture = None
    if not anonymous:
        picture = Picture(path.with_suffix(".jpg").read_bytes(), *record["picture"])
    numbers = {name.removeprefix("n_"): n for name, n in row.items() if name.startswith("n_")}
    counts = ", ".join(f"{n} {state}" for state, n in numbers.items() if n) or "no finding"
    volumes = f"{_ml(row['first_mm3'])} ml at the first visit, {_ml(row['second_mm3'])} ml at the "
    volumes += f"second; {_ml(row['gained_mm3'])} ml gained, {_ml(row['lost_mm3'])} ml lost"
    name = f"pair {number}" if anonymous else row["scan_id"]
    table = _table([one for one in record["changes"] if one["state"] != "stable"], not anonymous)
    return PairSection(name, f"pair-{number}", f"{counts}: {volumes}", table, picture)


def _table(changes: list[dict[str, float | str]], places: bool) -> Table:
    header = ["finding", "state", "first, ml", "second, ml", "gained, ml", "lost, ml", "parts"]
    header += ["x, y, z in the second scan, mm"] if places else []
    rows = []
    for one in changes:
        volumes = [_ml(one[f"{name}_mm3"]) for name in ("first", "second", "gained", "lost")]
        parts = f"{one['first_parts']} → {one['second_parts']}"
        place = ", ".join(f"{float(one[name]):.0f}" for name in ("x_mm", "y_mm", "z_mm"))
        rows.append([one["change"], one["state"], *volumes, parts, *([place] if places else [])])
    return Table(header, rows, "Findings that changed", (1,), sortable=True)


def _ml(mm3: float | str) -> str:
    return f"{float(mm3) / 1000:.2f}"

"""Read the two tables of `brainuad-predict` for the page."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from brainuad.errors import InputError
from brainuad.machine.read import read_table

SUBJECTS, FINDINGS = "subjects.csv", "findings.csv"
STATES = ("done", "flagged", "failed")
_NUMBERS = ("score", "percentile", "n_findings", "volume_mm3", "threshold")
_FILES = ("anomaly", "mask", "reconstruction", "uncertainty")
_COLUMNS = ("scan_id", "subject", "sequence", "image", "status", "reason", *_NUMBERS, *_FILES)
_FINDING_NUMBERS = (
    *("finding", "volume_mm3", "x_mm", "y_mm", "z_mm", "mni_x", "mni_y", "mni_z"),
    *("peak", "mean", "uncertainty", "support"),
)
_FINDING_WORDS = ("side", "region")

Finding = dict[str, float | str | bool | None]


@dataclass(frozen=True)
class ScanRow:
    """A row of `subjects.csv` with the findings of that scan.

    Attributes:
        scan_id: names the scan, also in a link to it.
        subject: a person.
        sequence: `T1w`, ….
        image: the scan as it came; None where the table names none.
        status: one of `STATES`.
        reason: why a scan is flagged or failed.
        notes: what was odd about its files.
        numbers: `score`, `percentile`, `n_findings`, `volume_mm3`, `threshold`; None if empty.
        files: `anomaly`, `mask`, `reconstruction`, `uncertainty` that the table names.
        findings: by `findings.csv`'s columns; mm, mm³.
    """

    scan_id: str
    subject: str
    sequence: str
    image: Path | None
    status: str
    reason: str
    numbers: dict[str, float | None]
    files: dict[str, Path]
    findings: tuple[Finding, ...]
    notes: str = ""

    @property
    def said(self) -> str:
        """Reason and notes."""
        return " · ".join(text for text in (self.reason, self.notes) if text)

    @property
    def can_be_opened(self) -> bool:
        """Return whether there is a map to show over the scan."""
        return self.image is not None and "anomaly" in self.files


def read_rows(out: Path) -> list[ScanRow]:
    """The scans of a folder of `brainuad-predict`, the highest score first, the failed ones last.

    Raises:
        InputError: no `subjects.csv`, or a column is missing in it or in `findings.csv`.
    """
    findings = defaultdict(list)
    table = out / FINDINGS
    if table.is_file():
        for line in _lines(table, ("scan_id", *_FINDING_NUMBERS, *_FINDING_WORDS, "marked")):
            findings[line["scan_id"]].append(_finding(line))
    rows = [_scan(line, out, findings) for line in _lines(out / SUBJECTS, _COLUMNS)]
    return sorted(rows, key=_place)


def counted(rows: Sequence[ScanRow]) -> str:
    """Return the number of scans in each state, in words."""
    counts = {state: sum(row.status == state for row in rows) for state in STATES}
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)


def _place(row: ScanRow) -> tuple[int, float, str]:
    score = row.numbers["score"]
    return (score is None) + (row.status == "failed"), -(score or 0.0), row.scan_id


def _lines(table: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    if not table.exists():
        raise InputError(f"{table}: no such file; give the OUT folder of brainuad-predict")
    header, rows = read_table(table, "run brainuad-predict again")
    missing = [name for name in columns if name not in header]
    if missing:
        raise InputError(
            f"{table}: no column {missing[0]}; run brainuad-predict again, it writes it"
        )
    for line in rows:
        yield {key: value.strip() for key, value in line.items()}


def _scan(line: dict[str, str], out: Path, findings: dict[str, list[Finding]]) -> ScanRow:
    return ScanRow(
        scan_id=line["scan_id"],
        subject=line["subject"],
        sequence=line["sequence"],
        image=out / line["image"] if line["image"] else None,
        status=line["status"] if line["status"] in STATES else "failed",
        reason=line["reason"],
        numbers={name: _number(line[name]) for name in _NUMBERS},
        files={name: out / line[name] for name in _FILES if line[name]},
        findings=tuple(findings.get(line["scan_id"], ())),
        # Tables of before have none.
        notes=line.get("notes", ""),
    )


def _finding(line: dict[str, str]) -> Finding:
    numbers = {name: _number(line[name]) for name in _FINDING_NUMBERS}
    words = {name: line[name] for name in _FINDING_WORDS}
    marked = line["marked"].lower() in ("1", "1.0", "true", "yes")
    return {**numbers, **words, "marked": marked}


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None

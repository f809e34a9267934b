"""Rows of the page: the two tables that `brainuad-predict` leaves."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from brainuad.errors import InputError
from brainuad.machine.read import read_table
from brainuad.reporting.flags import Flag, flags_of

SUBJECTS, FINDINGS = "subjects.csv", "findings.csv"
STATES = ("done", "flagged", "failed")


@dataclass(frozen=True)
class Numbers:
    """Numbers of a scan; None where the table has none.

    Attributes:
        score: anomaly score.
        percentile: share of healthy validation subjects with a lower score, in per cent.
        n_findings: number of findings.
        volume_mm3: volume of all findings.
        threshold: score from which a voxel is marked.
    """

    score: float | None
    percentile: float | None
    n_findings: float | None
    volume_mm3: float | None
    threshold: float | None


@dataclass(frozen=True)
class Files:
    """Volumes of a scan; None where the table names none."""

    anomaly: Path | None
    mask: Path | None
    reconstruction: Path | None
    uncertainty: Path | None


@dataclass(frozen=True)
class Finding:
    """A row of `findings.csv`; None where a cell is empty.

    Attributes:
        finding: its number in the scan.
        volume_mm3: its volume.
        x_mm: place in the world of the scan.
        y_mm: likewise.
        z_mm: likewise.
        mni_x: place in MNI152, mm.
        mni_y: likewise.
        mni_z: likewise.
        peak: highest score.
        mean: mean score.
        uncertainty: standard deviation over the samples.
        support: share of the samples that agree.
        contrast: brightness relative to the surrounding brain.
        side: left or right; may be empty.
        lobe: lobe of the brain; may be empty.
        region: tissue; may be empty.
        marked: whether few samples support it.
    """

    finding: float | None
    volume_mm3: float | None
    x_mm: float | None
    y_mm: float | None
    z_mm: float | None
    mni_x: float | None
    mni_y: float | None
    mni_z: float | None
    peak: float | None
    mean: float | None
    uncertainty: float | None
    support: float | None
    contrast: float | None
    side: str
    lobe: str
    region: str
    marked: bool


_WORDS = ("side", "lobe", "region")
_NUMBERS = tuple(f.name for f in fields(Finding) if f.name not in (*_WORDS, "marked"))
_LATER = ("lobe", "contrast")
"""Columns that older tables of findings lack."""

_TEXTS = ("scan_id", "subject", "sequence", "status", "reason")
_COLUMNS = (*_TEXTS, "image", *(f.name for kind in (Numbers, Files) for f in fields(kind)))
_FINDING_COLUMNS = ("scan_id", *(f.name for f in fields(Finding) if f.name not in _LATER))


@dataclass(frozen=True)
class ScanRow:
    """A row of `subjects.csv` with the findings of that scan.

    Attributes:
        scan_id: name of the scan, also in a link to it.
        subject: name of the person.
        sequence: `T1w`, ….
        status: one of `STATES`.
        reason: why a scan is flagged or failed.
        image: the scan as it came; None where the table names none.
        numbers: its score and the like.
        files: its volumes.
        findings: its findings.
        notes: oddities of its files.
    """

    scan_id: str
    subject: str
    sequence: str
    status: str
    reason: str
    image: Path | None
    numbers: Numbers
    files: Files
    findings: tuple[Finding, ...]
    notes: str = ""

    @property
    def flags(self) -> tuple[Flag, ...]:
        """Flags of the scan; of a failed scan, the reason."""
        return flags_of(self.reason.split("; ") if self.status == "flagged" else [self.reason])

    @property
    def can_be_opened(self) -> bool:
        """Return whether there is a map to show over the scan."""
        return self.image is not None and self.files.anomaly is not None


def read_rows(out: Path) -> list[ScanRow]:
    """Return the scans of a folder of `brainuad-predict`, highest score first, failed ones last.

    Raises:
        InputError: no `subjects.csv`, or a column is missing in it or in `findings.csv`.
    """
    findings = defaultdict(list)
    table = out / FINDINGS
    if table.is_file():
        for line in _lines(table, _FINDING_COLUMNS):
            findings[line["scan_id"]].append(_finding(line))
    rows = [_scan(line, out, findings) for line in _lines(out / SUBJECTS, _COLUMNS)]
    return sorted(rows, key=_place)


def counted(rows: Sequence[ScanRow]) -> str:
    """Return the number of scans in each state, in words."""
    counts = {state: sum(row.status == state for row in rows) for state in STATES}
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)


def _place(row: ScanRow) -> tuple[int, float, str]:
    score = row.numbers.score
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
    texts = {name: line[name] for name in _TEXTS}
    paths = {f.name: out / line[f.name] if line[f.name] else None for f in fields(Files)}
    row = ScanRow(
        **texts,
        image=out / line["image"] if line["image"] else None,
        numbers=Numbers(*(_number(line[f.name]) for f in fields(Numbers))),
        files=Files(**paths),
        findings=tuple(findings.get(texts["scan_id"], ())),
        # Tables of before have none.
        notes=line.get("notes", ""),
    )
    return row if row.status in STATES else replace(row, status="failed")


def _finding(line: dict[str, str]) -> Finding:
    line = dict.fromkeys(_LATER, "") | line
    values: dict[str, Any] = {name: _number(line[name]) for name in _NUMBERS}
    values |= {name: line[name] for name in _WORDS}
    return Finding(**values, marked=line["marked"].lower() in ("1", "1.0", "true", "yes"))


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None

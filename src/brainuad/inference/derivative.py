"""A folder of predictions as a BIDS derivative: sidecars, description, methods and group table."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from brainuad import __version__
from brainuad.errors import InputError
from brainuad.inference.bids_select import DESCRIPTION
from brainuad.inference.findings_text import NOT_A_DIAGNOSIS
from brainuad.inference.outputs import read_records
from brainuad.inference.records import FILES
from brainuad.machine.files import remove, write_json, write_text
from brainuad.machine.read import read_json
from brainuad.machine.text import csv_text
from brainuad.model.known import Known

CITATION = "logs/CITATION.md"

IGNORED = (
    *("records", "sources", "viewer", "prepared", "logs", "index.html", "*.csv"),
    "*_desc-findings_*",
)
"""Files of a derivative that BIDS has no names for.

The validator takes folders without a slash at the end, and at most two stars per pattern.
"""

README = f"""# Lesions marked by brainuad {__version__}

{NOT_A_DIAGNOSIS}

| file | content |
| --- | --- |
| `*_label-lesion_desc-SEQUENCE_mask.nii.gz` | lesion mask on the scan's own grid |
| `*_desc-anomaly_SEQUENCE.nii.gz` | anomaly map: the score of each voxel, on the same grid |
| `*_desc-reconstruction_SEQUENCE.nii.gz` | predicted healthy brain, if the method makes one |
| `*_desc-uncertainty_SEQUENCE.nii.gz` | its standard deviation, if there are several draws |
| `*_desc-findings_SEQUENCE.txt` | the findings in words |
| `subjects.csv`, `findings.csv` | one row per scan, one row per finding |
| `participants.tsv`, `index.html` | all participants, by `brainuad-bids … group` |
| `logs/CITATION.md` | the methods in words, with references |
"""

ABOUT = {
    "anomaly": "Anomaly map: larger values are more unusual. 0 outside the brain.",
    "mask": "Lesion mask: connected voxels of the anomaly map above Threshold, without specks.",
    "reconstruction": "Predicted healthy brain, in the brightness of the scan.",
    "uncertainty": "Standard deviation of the anomaly map over random draws and models.",
}

_SIDECAR = re.compile(
    r".*_(desc-(anomaly|reconstruction|uncertainty)_[^_]+|label-lesion_desc-[^_]+_mask)\.json"
)

PARTICIPANTS: dict[str, str] = {
    "participant_id": "Participant of the source dataset.",
    "n_scans": "Number of scans that were predicted.",
    "n_flagged": "Number of scans that a model may not have been made for.",
    "n_failed": "Number of scans without a mask.",
    "scan": "Scan with the largest volume of findings.",
    "n_findings": "Number of findings in that scan.",
    "lesion_volume_mm3": "Volume of all findings in that scan.",
}
"""Columns of `participants.tsv` and their descriptions."""


def require_own(out: Path) -> None:
    """Refuse a folder of another dataset.

    Raises:
        InputError: its description names another program than brainuad, or none.
    """
    path = out / DESCRIPTION
    if path.is_file():
        makers = read_json(path, "give another folder for the results").get("GeneratedBy")
        names = [one.get("Name") for one in makers or [] if isinstance(one, dict)]
        if "brainuad" not in names:
            raise InputError(f"{out}: is another dataset; give another folder for the results")


def write_about(out: Path) -> None:
    """Write the files that describe the derivative and were not made by a prediction."""
    for name, text in ((".bidsignore", "\n".join(IGNORED) + "\n"), ("README.md", README)):
        path = out / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)


def write_sidecars(
    out: Path, source: Path, images: Collection[Path], models: Mapping[str, Known]
) -> None:
    """Write the sidecar of each map and mask of some scans, and remove those without a file.

    Args:
        out: folder of the predictions.
        source: root of the raw dataset.
        images: scans whose sidecars are written; other commands write those of the others.
        models: sequence to the model that predicted it.
    """
    wanted = {str(image.absolute()) for image in images}
    for record in read_records(out):
        row = record["subject"]
        known = models.get(row.get("sequence", ""))
        if row.get("image") not in wanted or known is None:
            continue
        for kind in FILES:
            if name := row.get(kind):
                path = out / name.replace(".nii.gz", ".json")
                content = _sidecar(kind, row, source, known)
                if not path.is_file() or _content(path) != content:
                    write_json(path, content)
    for path in out.glob("sub-*/**/anat/*.json"):
        image = path.with_name(path.name.replace(".json", ".nii.gz"))
        if _SIDECAR.fullmatch(path.name) and not image.is_file():
            remove(path)


def _content(path: Path) -> Any:
    try:
        return read_json(path)
    except InputError:
        # Damaged: it is made anew.
        return None


def _sidecar(kind: str, row: Mapping[str, Any], source: Path, known: Known) -> dict[str, Any]:
    image = Path(row["image"])
    raw = image.relative_to(source.absolute()) if image.is_relative_to(source.absolute()) else image
    content: dict[str, Any] = {"Description": ABOUT[kind]}
    if kind == "mask":
        content |= {"Sources": [f"bids::{row['anomaly']}"], "Type": "Lesion"}
        content |= {"Threshold": row["threshold"], "ThresholdRule": known.variant or "given"}
        content |= {"Flags": row["reason"]}
    else:
        content |= {"Sources": [f"bids:raw:{raw.as_posix()}"], "SkullStripped": True}
    name = known.card.name or known.paths[0].name
    return {**content, "Model": name, "ModelWeightsSHA256": known.weights}


def write_group(out: Path) -> pd.DataFrame:
    """Write `participants.tsv` and `participants.json` of all predictions in a folder.

    Returns:
        The table.

    Raises:
        InputError: there are none.
    """
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for record in read_records(out):
        row = record["subject"]
        rows.setdefault(str(row["subject"]), []).append(row)
    if not rows:
        raise InputError(f"{out}: has no predictions; run the level `participant` first")
    table = pd.DataFrame(
        [_participant(name, rows[name]) for name in sorted(rows)], columns=list(PARTICIPANTS)
    ).astype({"n_findings": "Int64"})
    text = csv_text(table, sep="\t", na_rep="n/a", float_format="%.6g")
    write_text(out / "participants.tsv", text)
    units = {"lesion_volume_mm3": {"Units": "mm^3"}}
    write_json(
        out / "participants.json",
        {name: {"Description": text} | units.get(name, {}) for name, text in PARTICIPANTS.items()},
    )
    return table


def _participant(name: str, rows: list[Mapping[str, Any]]) -> tuple[Any, ...]:
    states = [row["status"] for row in rows]
    done = [row for row in rows if row["status"] != "failed"]
    most = max(done, key=lambda row: row["volume_mm3"], default=None)
    largest = (None, None, None)
    if most is not None:
        largest = (most["scan_id"], most["n_findings"], most["volume_mm3"])
    return (name, len(rows), states.count("flagged"), states.count("failed"), *largest)

"""The output folder: files and record of each scan, and the two tables made of the records."""

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainuad import __version__
from brainuad.cohorts.map_folder import MapFolder
from brainuad.inference.find_scans import Wanted
from brainuad.inference.findings_text import findings_text
from brainuad.inference.records import FILES, RECORDS, SEGMENTATION, read_all, record_path
from brainuad.machine.files import (
    move,
    own_folder,
    remove,
    sizes,
    until_still,
    write_json,
    write_text,
)
from brainuad.machine.text import csv_text
from brainuad.model.findings import COLUMNS as FINDING_COLUMNS
from brainuad.model.prediction import Prediction
from brainuad.volumes.nifti import write_like, write_volume
from brainuad.volumes.planes import is_slice, write_result_pngs

SUBJECTS, FINDINGS = "subjects.csv", "findings.csv"

SUBJECT_COLUMNS = (
    *("scan_id", "subject", "sequence", "image", "status", "reason", "score", "percentile"),
    *("n_findings", "volume_mm3", "threshold", *FILES, SEGMENTATION, "notes"),
)

Record = dict[str, Any]
"""`stamp`, `subject` (a row of subjects.csv) and `findings` (rows of findings.csv)."""


def write_prediction(
    out: Path, wanted: Wanted, sequence: str, found: Prediction, stamp: str
) -> None:
    """Write the files of a scan on its own grid, and its record last: a scan with one is done.

    All files are written before the first is moved to its place. On a full disk the earlier files
    stay, and two processes that predict one scan do not mix their files.

    Args:
        out: output folder.
        wanted: the scan.
        sequence: sequence of the model.
        found: its prediction.
        stamp: fingerprint of model, preparation and scan.
    """
    with own_folder(out / wanted.folder / "new") as new:
        paths = _write_files(new, wanted, found)
        record = _record(out, wanted, sequence, found, stamp, paths)
        text = findings_text(record["subject"], record["findings"])
        write_text(new / wanted.file("findings", "txt"), text)
        write_json(record_path(new, wanted), record)
        made = [path.relative_to(new) for path in new.rglob("*") if path.is_file()]
        own = record_path(new, wanted).relative_to(new)
        for path in made:
            if path != own:
                move(new / path, out / path)
        for kind in (*FILES, SEGMENTATION):
            if not paths[kind]:
                remove(out / wanted.file(kind))
        move(new / own, out / own)


def _write_files(new: Path, wanted: Wanted, found: Prediction) -> dict[str, str]:
    """Write the files of a scan; return kind to path, relative to the folder, empty for none."""
    arrays = {
        "anomaly": found.anomaly_map,
        "mask": found.mask,
        "reconstruction": found.reconstruction,
        "uncertainty": found.uncertainty,
    }
    paths = dict.fromkeys((*FILES, SEGMENTATION), "")
    for kind, array in arrays.items():
        if array is not None:
            dtype = np.uint8 if kind == "mask" else np.float32
            write_like(new / wanted.file(kind), array, found.native, dtype)
            paths[kind] = wanted.file(kind)
    if is_slice(found.mask):
        write_result_pngs(
            new / wanted.file("anomaly", "png"),
            new / wanted.file("mask", "png"),
            found.anomaly_map,
            found.mask,
        )
    if _needs_image(wanted, found):
        shutil.copyfile(found.native, new / wanted.file("scan"))
    return paths


def _needs_image(wanted: Wanted, found: Prediction) -> bool:
    """Return whether the image of a scan lies in the temporary folder of the preparation."""
    return wanted.scan.image.is_dir() or is_slice(found.mask)


def _record(
    out: Path,
    wanted: Wanted,
    sequence: str,
    found: Prediction,
    stamp: str,
    paths: dict[str, str],
) -> Record:
    image = out / wanted.file("scan") if _needs_image(wanted, found) else found.native
    notes = "; ".join(found.notes)
    findings = json.loads(found.findings.to_json(orient="records", double_precision=6))
    return {
        "stamp": stamp,
        "subject": {
            "scan_id": wanted.scan_id,
            "subject": wanted.subject,
            "sequence": sequence,
            "image": str(image.absolute()),
            "status": "flagged" if found.flags else "done",
            "reason": "; ".join(found.flags),
            "score": found.score,
            "percentile": found.percentile,
            "n_findings": len(found.findings),
            "volume_mm3": float(found.findings["volume_mm3"].sum()),
            "threshold": found.threshold,
            **paths,
            "notes": notes,
        },
        "findings": [{**row, "notes": notes} for row in findings],
        "seconds": found.seconds,
    }


def write_maps(folder: MapFolder, wanted: Wanted, found: Prediction) -> None:
    """Write the maps of a scan on its prepared grid, as `evaluate.py` takes them."""
    for kind, volume in found.raw.items():
        write_volume(folder.file(wanted.scan_id, kind), volume.array, volume.affine)


def write_brain(out: Path, wanted: Wanted, found: Prediction) -> None:
    """Write the brain mask of a scan on its own grid, which a comparison of two visits needs."""
    write_like(out / wanted.file("brain"), found.brain, found.native, np.uint8)


def write_failure(out: Path, wanted: Wanted, sequence: str, reason: str) -> None:
    """Write the record of a scan that failed, and remove its earlier files."""
    remove(out / wanted.file("findings", "txt"))
    for kind in (*FILES, SEGMENTATION, "scan"):
        remove(out / wanted.file(kind))
        remove(out / wanted.file(kind, "png"))
    row = {
        "scan_id": wanted.scan_id,
        "subject": wanted.subject,
        "sequence": sequence,
        "image": str(wanted.scan.image.absolute()),
        "status": "failed",
        "reason": reason,
    }
    record = {"stamp": "", "subject": row, "findings": []}
    write_json(record_path(out, wanted), record)


def write_tables(out: Path) -> pd.DataFrame:
    """Write `subjects.csv` and `findings.csv` of all records in a folder, sorted by scan.

    Other commands may write into the folder at the same time, or did so before. A scan whose files
    were removed is left out.

    Returns:
        The content of `subjects.csv`.
    """
    return until_still(lambda: sizes(_records_in(out)), lambda: _write_tables(out))


def _records_in(out: Path) -> list[Path]:
    return sorted(p for p in (out / RECORDS).glob("*.json") if not p.name.startswith("."))


def read_records(out: Path) -> list[Record]:
    """Return the records in a folder whose files are there, in the order of their names."""

    def parse(record: Record) -> list[Record]:
        row, rows = record["subject"], [dict(one) for one in record["findings"]]
        named = [out / row[kind] for kind in FILES if row.get(kind)]
        there = row["scan_id"] and all(path.is_file() for path in named)
        return [{**record, "findings": rows}] if there else []

    found = read_all(_records_in(out), parse, "delete it and predict its scan again")
    return list(itertools.chain.from_iterable(found))


def _write_tables(out: Path) -> pd.DataFrame:
    records = read_records(out)
    subjects = [record["subject"] for record in records]
    findings = [
        {"scan_id": record["subject"]["scan_id"], **one}
        for record in records
        for one in record["findings"]
    ]
    subjects.sort(key=lambda row: str(row["scan_id"]))
    findings.sort(key=lambda row: str(row["scan_id"]))
    table = pd.DataFrame(subjects, columns=SUBJECT_COLUMNS).astype({"n_findings": "Int64"})
    _write_csv(out / SUBJECTS, table)
    columns = ["scan_id", *FINDING_COLUMNS, "notes"]
    _write_csv(out / FINDINGS, pd.DataFrame(findings, columns=columns))
    return table


def tables_in(out: Path) -> list[bytes]:
    """Return the contents of the two tables."""
    return [(out / name).read_bytes() for name in (SUBJECTS, FINDINGS)]


def write_dataset_description(out: Path, source: Path) -> None:
    """Write the `dataset_description.json` of a BIDS derivative.

    Args:
        out: folder of the derivative.
        source: root of the raw dataset, `bids:raw:` in the sidecars.
    """
    place = source.absolute().as_uri()
    write_json(
        out / "dataset_description.json",
        {
            "Name": f"brainuad: anomalies of {source.absolute().name}",
            "BIDSVersion": "1.10.0",
            "DatasetType": "derivative",
            "GeneratedBy": [
                {
                    "Name": "brainuad",
                    "Version": __version__,
                    "Description": "Unsupervised detection of anomalies in brain MRI",
                }
            ],
            "SourceDatasets": [{"URL": place}],
            "DatasetLinks": {"raw": place},
        },
    )


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    write_text(path, csv_text(table, float_format="%.6g"))

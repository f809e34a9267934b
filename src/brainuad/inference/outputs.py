"""The output folder: files of each scan, a record of each, and the two tables made of these."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainuad import __version__
from brainuad.inference.find_scans import Wanted
from brainuad.inference.records import FILES, record_path
from brainuad.machine.files import atomic_path, remove, write_json, write_text
from brainuad.machine.read import read_json
from brainuad.machine.text import csv_text
from brainuad.model.findings import COLUMNS as FINDING_COLUMNS
from brainuad.model.prediction import Prediction
from brainuad.volumes.nifti import write_like, write_volume
from brainuad.volumes.planes import is_slice, write_result_pngs

SUBJECTS, FINDINGS = "subjects.csv", "findings.csv"

SUBJECT_COLUMNS = (
    *("scan_id", "subject", "sequence", "image", "status", "reason", "score", "percentile"),
    *("n_findings", "volume_mm3", "threshold", *FILES, "notes"),
)

Record = dict[str, Any]
"""`stamp`, `subject` (a row of subjects.csv) and `findings` (rows of findings.csv)."""


def write_prediction(
    out: Path, wanted: Wanted, sequence: str, found: Prediction, stamp: str
) -> Record:
    """Writes the files of a scan on its own grid, and its record last: one that has it is done.

    Args:
        out: output folder.
        wanted: the scan.
        sequence: of the model.
        found: what the model says.
        stamp: of the model, the preparation and the scan.
    """
    arrays = {
        "anomaly": found.anomaly_map,
        "mask": found.mask,
        "reconstruction": found.reconstruction,
        "uncertainty": found.uncertainty,
    }
    paths = dict.fromkeys(FILES, "")
    for kind, array in arrays.items():
        path = out / wanted.file(kind)
        if array is None:
            remove(path)
            continue
        dtype = np.uint8 if kind == "mask" else np.float32
        write_like(path, array, found.native, dtype)
        paths[kind] = wanted.file(kind)
    if is_slice(found.mask):
        write_result_pngs(
            out / wanted.file("anomaly", "png"),
            out / wanted.file("mask", "png"),
            found.anomaly_map,
            found.mask,
        )
    image = found.native
    if wanted.scan.image.is_dir() or is_slice(found.mask):
        # Of a DICOM series or a 2D image, in the folder of the preparation, which does not stay.
        image = out / wanted.file("scan")
        with atomic_path(image) as temporary:
            shutil.copyfile(found.native, temporary)
    notes = "; ".join(found.notes)
    findings = json.loads(found.findings.to_json(orient="records", double_precision=6))
    record = {
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
    write_json(record_path(out, wanted), record)
    return record


def write_maps(folder: Path, wanted: Wanted, found: Prediction) -> None:
    """Writes the maps of a scan on its prepared grid, as `evaluate.py` takes them."""
    for kind, volume in found.raw.items():
        write_volume(folder / f"{wanted.scan_id}_{kind}.nii.gz", volume.array, volume.affine)


def write_failure(out: Path, wanted: Wanted, sequence: str, reason: str) -> Record:
    """Writes the record of a scan of which nothing can be said, and removes what was there."""
    for kind in (*FILES, "scan"):
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
    return record


def write_tables(out: Path, wanted: Sequence[Wanted]) -> pd.DataFrame:
    """`subjects.csv` and `findings.csv` of the records that are there, in the order of `wanted`.

    Returns:
        The former.
    """
    subjects, findings = [], []
    for item in wanted:
        path = record_path(out, item)
        if path.is_file():
            record = read_json(path, "delete it and run the same command again")
            subjects.append(record["subject"])
            findings += [{"scan_id": item.scan_id, **row} for row in record["findings"]]
    table = pd.DataFrame(subjects, columns=SUBJECT_COLUMNS).astype({"n_findings": "Int64"})
    _write_csv(out / SUBJECTS, table)
    columns = ["scan_id", *FINDING_COLUMNS, "notes"]
    _write_csv(out / FINDINGS, pd.DataFrame(findings, columns=columns))
    return table


def write_dataset_description(out: Path, source: Path) -> None:
    """The `dataset_description.json` of a BIDS derivative."""
    write_json(
        out / "dataset_description.json",
        {
            "Name": f"brainuad: anomalies of {source.absolute().name}",
            "BIDSVersion": "1.9.0",
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "brainuad", "Version": __version__}],
            "SourceDatasets": [{"URL": source.absolute().as_uri()}],
        },
    )


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    write_text(path, csv_text(table, float_format="%.6g"))

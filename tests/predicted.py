"""A folder as `brainuad-predict` leaves it, with known answers."""

import csv
from pathlib import Path

import nibabel as nib
import numpy as np

from brainuad.volumes.nifti import write_volume

SHAPE = (30, 36, 26)
THRESHOLD = 0.4
# Axes L, P, S, tilted: what a viewer gets wrong first.
AFFINE = np.eye(4)
AFFINE[:3, :3] = nib.eulerangles.euler2mat(0.12, 0.05, 0.1) @ np.diag([-4.0, -4.0, 5.0])
AFFINE[:3, 3] = (70.0, 60.0, -50.0)
VOXEL_MM3 = 80.0
# Corner and size in voxels, score: all are above the threshold, only the first above 0.7.
BOXES = (((8, 10, 11), (4, 3, 3), 0.9), ((18, 22, 12), (3, 3, 2), 0.5))
HOSTILE = "\"'><script>alert('name')</script>&#x27;"
MARKUP = "<img src=x onerror=\"alert('text')\">"

SUBJECT_COLUMNS = (
    *("scan_id", "subject", "sequence", "image", "status", "reason", "score", "percentile"),
    *("n_findings", "volume_mm3", "threshold", "anomaly", "mask", "reconstruction", "uncertainty"),
)
FINDING_COLUMNS = (
    *("scan_id", "finding", "volume_mm3", "x_mm", "y_mm", "z_mm", "mni_x", "mni_y", "mni_z"),
    *("peak", "mean", "side", "region", "uncertainty", "support", "marked"),
)


def centre_mm(box: int) -> tuple[float, float, float]:
    """World place of the voxel in the middle of a box."""
    corner, size, _ = BOXES[box]
    middle = [c + s // 2 for c, s in zip(corner, size, strict=True)]
    x, y, z = (AFFINE @ [*middle, 1.0])[:3]
    return float(x), float(y), float(z)


def write_predictions(out: Path) -> Path:
    """Two scans that went well (`sick`, `well`), a flagged one of a hostile name, a failed one."""
    rows, findings = [], []
    plan = (("sick", "done", 0.31), ("well", "done", 0.05), (HOSTILE, "flagged", 0.02))
    for index, (name, status, score) in enumerate(plan):
        sick = name != "well"
        files = _write_volumes(out, f"scan{index}", sick)
        row = dict.fromkeys(SUBJECT_COLUMNS, "") | files
        row |= {"scan_id": name, "subject": name, "sequence": "T2w", "status": status}
        row |= {"score": score, "percentile": 99 - 40 * index, "threshold": THRESHOLD}
        row |= {"n_findings": 2 * sick, "volume_mm3": 54 * VOXEL_MM3 * sick}
        row["reason"] = MARKUP if status == "flagged" else ""
        rows.append(row)
        findings += [_finding(name, box) for box in range(2)] if sick else []
    broken = {"scan_id": "broken", "status": "failed", "image": "/nowhere/broken.nii.gz"}
    broken["reason"] = "/nowhere/broken.nii.gz: truncated or damaged; copy or export it again"
    rows.insert(0, dict.fromkeys(SUBJECT_COLUMNS, "") | broken)
    write_tables(out, rows, findings)
    return out


def write_tables(out: Path, rows: list[dict], findings: list[dict]) -> None:
    """Writes `subjects.csv` and `findings.csv`."""
    out.mkdir(parents=True, exist_ok=True)
    for name, columns, lines in (
        ("subjects.csv", SUBJECT_COLUMNS, rows),
        ("findings.csv", FINDING_COLUMNS, findings),
    ):
        with (out / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(lines)


def _write_volumes(out: Path, stem: str, sick: bool) -> dict[str, str]:
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    head = sum(axis**2 for axis in axes) < 0.6
    image = np.where(head, 600 + 200 * axes[0] + 150 * axes[2], 0)
    anomaly = np.where(head, 0.1, 0)
    for corner, size, score in BOXES:
        box = tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))
        anomaly[box] = score if sick else 0.1
    arrays = {"anomaly": anomaly, "mask": anomaly >= THRESHOLD}
    if sick:
        arrays |= {"reconstruction": image * 0.9, "uncertainty": anomaly / 4}
    write_volume(out.parent / "raw" / f"{stem}.nii.gz", image, AFFINE)
    for name, array in arrays.items():
        dtype = np.uint8 if name == "mask" else np.float32
        write_volume(out / stem / f"{stem}_{name}.nii.gz", array, AFFINE, dtype)
    files = {name: f"{stem}/{stem}_{name}.nii.gz" for name in arrays}
    return {"image": str(out.parent / "raw" / f"{stem}.nii.gz"), **files}


def _finding(name: str, box: int) -> dict[str, object]:
    x, y, z = centre_mm(box)
    _, size, score = BOXES[box]
    return {
        "scan_id": name, "finding": box + 1, "volume_mm3": int(np.prod(size)) * VOXEL_MM3,
        "x_mm": x, "y_mm": y, "z_mm": z, "mni_x": 1.0, "mni_y": -2.0, "mni_z": 3.5,
        "peak": score, "mean": score, "side": "left", "region": MARKUP if box else "frontal lobe",
        "uncertainty": score / 4, "support": 0.2 if box else 1.0, "marked": bool(box),
    }  # fmt: skip

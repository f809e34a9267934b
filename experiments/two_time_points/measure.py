"""Changes between two visits: how many are found, how large, and how many are false.

    BRAINUAD_REAL_DATA=FOLDER python experiments/two_time_points/measure.py

writes `painted.csv`, `false.csv`, `real.csv` and `results.md` beside this file.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import SimpleITK as sitk
from scipy import ndimage

import brainuad
from brainuad.changes.compare import Compare, Comparison
from brainuad.changes.halfway import carried
from brainuad.changes.visit import Visit
from brainuad.machine.files import write_text
from brainuad.machine.text import say
from brainuad.metrics.lesion import lesion_scores
from brainuad.types import Volume
from brainuad.volumes.itk import matrix_of
from brainuad.volumes.nifti import read_volume

sys.path.insert(0, str(Path(__file__).parents[2]))

from experiments.two_time_points.paint import Pair, paint

HERE = Path(__file__).parent
PAIRS = (
    *(("tuned", "openms_mni_1mm/patient07", 1), ("tuned", "raw_heads/flair_adult", 2)),
    *(("tuned", "nichart_elderly_2mm/subj01", 3), ("tuned", "openms_mni_1mm/patient26", 4)),
    *(("held out", "nichart_elderly_2mm/subj06", 11), ("held out", "openms_mni_1mm/patient07", 14)),
    *(("held out", "raw_heads/flair_adult", 13), ("held out", "openms_mni_1mm/patient26", 16)),
)
"""Use, head and seed; choices were made on the first four."""

REAL = ("patient01", "patient03")
NEAR_MM = 2
"""A finding so close to a painted change is no false one."""


def main() -> None:
    """Entry point."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    root = os.environ.get("BRAINUAD_REAL_DATA")
    if not root:
        sys.exit("set BRAINUAD_REAL_DATA to the folder of the real scans")
    model = brainuad.load("universal", sequence="FLAIR", device="cpu")
    real = [real_row(model, Path(root), name) for name in REAL]
    painted, false = [], []
    for use, head, seed in PAIRS:
        pair = painted_pair(model, Path(root) / head / "FLAIR.nii.gz", seed)
        visits = [
            visit_of(model, nib.Nifti1Image(s.array, s.affine)) for s in (pair.first, pair.second)
        ]
        found = Compare()(*visits)
        rows, wrong = measured(pair, found)
        painted += [{"use": use, "head": head, "seed": seed, **row} for row in rows]
        false.append({"use": use, "head": head, "seed": seed, **wrong})
    write(painted, false, real)


def painted_pair(model: Any, path: Path, seed: int) -> Pair:
    """Return a painted pair of a head; the model finds its brain."""
    head = read_volume(path)
    brain = model.predict(path).brain
    return paint(Volume(np.maximum(head.array, 0), head.affine), brain, 1, seed)


def visit_of(model: Any, image: Any) -> Visit:
    """Return a scan with what the model marks in it."""
    found = model.predict(image)
    native = image if isinstance(image, nib.Nifti1Image) else nib.load(image)
    scan = Volume(np.asarray(native.get_fdata(dtype=np.float32)), native.affine)
    return Visit(scan, found.brain, found.anomaly_map, found.mask, found.threshold)


def measured(pair: Pair, found: Comparison) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return a row for each painted change, and the false findings of the pair."""
    half = found.halfway
    way = np.linalg.inv(pair.ways[0]) @ half.to_first
    truth = carried_labels(pair.truth, half.grid, way)
    changed = found.tissue.gained | found.tissue.lost
    rows = []
    for number, change in enumerate(pair.changes, 1):
        mine = found.tissue.gained if change.kind in ("new", "grown") else found.tissue.lost
        regions, _ = ndimage.label(mine, np.ones((3, 3, 3)))
        hit = np.unique(regions[(truth == number) & mine])
        volume = float(np.isin(regions, hit[hit > 0]).sum()) * half.grid.affine[0, 0] ** 3 / 1000
        labels = np.unique(found.labels[(truth == number) & mine])
        states = found.findings.set_index("change")["state"].reindex(labels[labels > 0])
        rows.append(
            {
                "kind": change.kind,
                "painted_ml": change.volume_ml,
                "found_ml": volume,
                "state": "/".join(states.astype(str)),
            }
        )
    regions, count = ndimage.label(changed, np.ones((3, 3, 3)))
    near = ndimage.binary_dilation(truth > 0, iterations=NEAR_MM)
    false = count - len(np.unique(regions[near & changed]))
    return rows, {"false": false, "findings": int(count)}


def carried_labels(labels: Volume, grid: Any, way: np.ndarray) -> np.ndarray:
    """Return labels on another grid, by nearest neighbour."""
    return np.rint(carried(labels.array.astype(np.float32), labels.affine, grid, way, 0)).astype(
        int
    )


def real_row(model: Any, root: Path, name: str) -> dict[str, Any]:
    """Compare a real pair of visits, whose truth marks changed tissue; return its scores."""
    folder = root / "openms_longitudinal_raw" / name
    visits = [visit_of(model, folder / f"study{n}_FLAIR.nii.gz") for n in (1, 2)]
    return real_scores(Compare()(*visits), root, name)


def real_scores(found: Comparison, root: Path, name: str) -> dict[str, Any]:
    """Return the scores of a comparison of a real pair."""
    folder = root / "openms_longitudinal_raw" / name
    to_common = sitk.ReadTransform(str(folder / "study2_FLAIR_to_common_space.txt"))
    # ITK's transforms lead from the grid that was resampled to, the common one.
    way = np.linalg.inv(matrix_of(to_common)) @ found.halfway.to_second
    truth = carried_labels(read_volume(folder / "gt.nii.gz"), found.halfway.grid, way) > 0
    changed = found.tissue.gained | found.tissue.lost
    scores = lesion_scores(changed, truth, (1.0, 1.0, 1.0))
    overlap = 2 * float((changed & truth).sum()) / max(int(changed.sum() + truth.sum()), 1)
    states = found.findings["state"].value_counts()
    return {
        "pair": name,
        "true_ml": truth.sum() / 1000,
        "found_ml": changed.sum() / 1000,
        "dice": overlap,
        "lesion_sensitivity": scores.lesion_sensitivity,
        "lesion_precision": scores.lesion_precision,
        "gained_ml": found.tissue.gained.sum() / 1000,
        "lost_ml": found.tissue.lost.sum() / 1000,
        **{state: int(states.get(state, 0)) for state in ("new", "grown", "shrunk", "vanished")},
    }


def write(
    painted: list[dict[str, Any]], false: list[dict[str, Any]], real: list[dict[str, Any]]
) -> None:
    """Write the tables and their summary."""
    tables = {"painted": painted, "false": false, "real": real}
    frames = {name: pd.DataFrame(rows) for name, rows in tables.items()}
    for name, frame in frames.items():
        write_text(HERE / f"{name}.csv", frame.to_csv(index=False, float_format="%.3f"))
    one = frames["painted"].assign(
        size=frames["painted"]["painted_ml"].round(1),
        hit=frames["painted"]["found_ml"] > 0,
        error=frames["painted"]["found_ml"] / frames["painted"]["painted_ml"] - 1,
    )
    lines = ["# Results", "", "Written by `measure.py`; do not edit.", "", "## Painted changes", ""]
    lines += ["| use | size, ml | changes | found | same state | median volume error | largest |"]
    lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
    one = one.sort_values(["use", "size"], ascending=[False, True])
    for (use, size), own in one.groupby(["use", "size"], sort=False):
        error = own.loc[own["hit"], "error"]
        largest = error.loc[error.abs().idxmax()] if len(error) else np.nan
        lines.append(
            f"| {use} | {size} | {len(own)} | {own['hit'].sum()} | "
            f"{(own['state'] == own['kind']).sum()} | "
            f"{_percent(error.median())} | {_percent(largest)} |"
        )
    for use, own in frames["false"].groupby("use", sort=False):
        lines += [
            "",
            f"False findings a pair, {use}: {own['false'].mean():.2f} ({len(own)} pairs).",
        ]
    lines += ["", "## Real pairs", "", "| " + " | ".join(frames["real"]) + " |"]
    lines += ["| " + " | ".join("---" for _ in frames["real"]) + " |"]
    for row in frames["real"].itertuples(index=False):
        lines.append(
            "| " + " | ".join(f"{v:.2f}" if isinstance(v, float) else str(v) for v in row) + " |"
        )
    write_text(HERE / "results.md", "\n".join(lines) + "\n")
    say("\n".join(lines))


def _percent(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:+.0%}"


if __name__ == "__main__":
    main()

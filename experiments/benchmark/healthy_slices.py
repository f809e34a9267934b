"""Patients' slices without a lesion in the place of healthy brains, for a cohort of patients alone.

    python -m experiments.benchmark.healthy_slices ROWS.csv OUT

writes `OUT/scans.csv` for `brainuad-prepare`. Subjects whose split is `train` or `val` (drawn where
the rows give none) become `healthy`: in copies of their scans every axial slice that the lesion
reaches, and those within MARGIN_MM of it, are empty. The others are for testing, as they are.
"""

import csv
import sys
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from brainuad.cohorts.find import find_raw
from brainuad.cohorts.scans import RawScan
from brainuad.cohorts.splits import assign_splits
from brainuad.errors import InputError
from brainuad.machine.files import atomic_path
from brainuad.types import Volume
from brainuad.volumes.nifti import read_mask, read_volume, write_volume

MARGIN_MM = 5.0
"""Beyond the outermost slice with a lesion: its oedema is not drawn where it fades."""

VAL, TEST = 0.1, 0.3
"""Shares of the patients."""


def healthy_slices(rows: Path, out: Path) -> Path:
    """Writes the list and the emptied scans.

    Args:
        rows: a CSV as `data_prep` writes it, of brain-extracted scans with lesion masks.
        out: a folder.

    Returns:
        The list.

    Raises:
        InputError: a scan without a lesion mask.
    """
    scans = find_raw(rows, "T2w", every=True)
    for scan in scans:
        if scan.lesion_mask is None:
            raise InputError(f"{scan.image}: has no lesion mask; make the rows with --labelled")
    # To the draw they are alike: what makes them healthy is what is cut from them.
    drawn = assign_splits([replace(scan, healthy=True) for scan in scans], 0, VAL, TEST)
    found = []
    for scan in drawn:
        tested = scan.split == "test"
        found.append(replace(scan, healthy=False) if tested else _emptied(scan, out))
    path = out / "scans.csv"
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(RawScan)])
        writer.writeheader()
        for scan in found:
            row = {key: "" if value is None else value for key, value in asdict(scan).items()}
            paths = {key: v.absolute() for key, v in row.items() if isinstance(v, Path)}
            writer.writerow(row | paths | {"healthy": str(scan.healthy).lower()})
    return path


def _emptied(scan: RawScan, out: Path) -> RawScan:
    assert scan.lesion_mask is not None
    image = read_volume(scan.image)
    lesion = read_mask(scan.lesion_mask, like=image)
    axis = axial_axis(image)
    others = tuple(a for a in range(3) if a != axis)
    reached = lesion.any(axis=others)
    reach = int(np.ceil(MARGIN_MM / image.spacing_mm[axis]))
    near = ndimage.binary_dilation(reached, iterations=reach) if reached.any() else reached
    shape = [-1 if a == axis else 1 for a in range(3)]
    target = out / f"{scan.subject}_{scan.sequence}.nii.gz"
    write_volume(target, np.where(near.reshape(shape), 0, image.array), image.affine)
    return replace(scan, image=target, brain_mask=None, lesion_mask=None, pathology="")


def axial_axis(volume: Volume) -> int:
    """The array axis that runs most from foot to head."""
    return int(
        np.abs(volume.affine[2, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)).argmax()
    )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print(healthy_slices(Path(sys.argv[1]), Path(sys.argv[2])))

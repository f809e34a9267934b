"""Does the mask lie where the lesion is, whatever way a head was scanned?

    BRAINUAD_REAL_DATA=FOLDER python experiments/predict/localisation.py

trains the intensity baseline on real T1w heads, paints a bright lesion into other real heads, at a
different place each time, writes each on ten grids (flips, permuted axes, 1 to 3 mm, thick slices,
oblique), runs `brainuad-predict` on the raw files and writes `localisation.md`: the distance of
the finding's centroid from the lesion's in the scan's own world, and whether grid and affine came
back as they were. `localisation.jpg` shows the first scan and the mask over it.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import cc3d
import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.affines import apply_affine
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from nibabel.processing import resample_from_to, resample_to_output

from brainuad.cli.prepare import main as prepare
from brainuad.cohorts.filename import stem_of
from brainuad.cohorts.scans import RawScan
from brainuad.machine.files import write_text
from brainuad.preparation.recipes import default
from brainuad.preparation.subject import prepare_subject
from brainuad.reporting.drawing.grid import Panel, draw_grid
from brainuad.reporting.tables import to_markdown
from brainuad.settings.instantiate import PREPARATION, instantiate
from brainuad.volumes.native_space import native_points, read_way

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RADIUS_MM = 9.0
LIMIT_MM = 3.0

PLACES = (
    *((28, -20, 28), (-28, -22, 28), (26, 22, 20), (-26, 24, 18), (36, -46, 20)),
    *((-34, -48, 22), (24, -70, 14), (-24, -72, 16), (30, 4, 34), (-30, 2, 36)),
)
"""MNI mm, in the white matter of both hemispheres: one for each grid."""

Image = nib.nifti1.Nifti1Image


def _turned(codes: str) -> Callable[[Image], Image]:
    """Voxels in another order; nothing is interpolated."""

    def turn(image: Image) -> Image:
        found = ornt_transform(io_orientation(image.affine), axcodes2ornt(codes))
        return image.as_reoriented(found)

    return turn


def _voxels(*spacing_mm: float) -> Callable[[Image], Image]:
    return lambda image: resample_to_output(image, spacing_mm, order=1)


def _oblique(image: Image) -> Image:
    """1.2 mm voxels, 20 degrees about one axis and 12 about another."""
    a, b = np.deg2rad([20, 12])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = 1.2 * about_x @ about_z
    shape = (180, 220, 210)
    middle = apply_affine(image.affine, (np.array(image.shape) - 1) / 2)
    matrix[:3, 3] = middle - matrix[:3, :3] @ ((np.array(shape) - 1) / 2)
    return resample_from_to(image, (shape, matrix), order=1)


GRIDS: dict[str, Callable[[Image], Image]] = {
    "as it came": lambda image: image,
    "LAS": _turned("LAS"),
    "PSR": _turned("PSR"),
    "LIA": _turned("LIA"),
    "RPI": _turned("RPI"),
    "1 mm": _voxels(1, 1, 1),
    "2 mm": _voxels(2, 2, 2),
    "3 mm": _voxels(3, 3, 3),
    "1 x 1 x 3 mm": _voxels(1, 1, 3),
    "oblique 1.2 mm": _oblique,
}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", nargs="+", default=["chris", "IXI"])
    parser.add_argument("--work", type=Path, help="folder to keep (default: a temporary one)")
    arguments = parser.parse_args()
    data = Path(os.environ["BRAINUAD_REAL_DATA"])
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        model = trained(data, work)
        heads = {
            "chris": data / "raw_heads" / "chris" / "T1.nii.gz",
            "IXI": sorted((data / "ixi_t1_2mm").iterdir())[-1] / "T1.nii.gz",
        }
        rows = []
        for name in arguments.heads:
            head = heads[name]
            scans, truths = paint(head, name, work / "scans" / name)
            out = work / "out" / name
            command = [sys.executable, ROOT / "predict.py", model, scans, out]
            # The brightest hundredth of each brain, the lesion in it. The model's own threshold
            # marks more of the white matter, which may touch the lesion.
            command += ["--threshold", "0.99", "--no-page"]
            subprocess.run([*map(str, command)], check=False)
            table = pd.read_csv(out / "subjects.csv").set_index("scan_id")
            for grid, truth in truths.items():
                rows.append((name, grid, *judged(out, table, truth)))
            if name == "chris":
                picture(out, table, next(iter(truths.values())), HERE / "localisation.jpg")
    hits = sum(row[3] <= LIMIT_MM for row in rows)
    same = sum(row[2] == "yes" for row in rows)
    said = [(*row[:3], f"{row[3]:.2f}", *row[4:]) for row in rows]
    header = [
        "head",
        "grid",
        "grid and affine the same",
        "distance in mm",
        "lesion marked",
        "status",
    ]
    text = (
        "# Where the mask lies\n\nWritten by `localisation.py`, which says what was done.\n\n"
        f"**{hits} of {len(rows)}** findings lie within {LIMIT_MM:g} mm of the lesion; "
        f"**{same} of {len(rows)}** maps and masks have the scan's own grid, affine and codes.\n\n"
        f"{to_markdown(header, said)}\n"
    )
    write_text(HERE / "localisation.md", text)
    print(text)


def trained(data: Path, work: Path) -> Path:
    """The run folder of the intensity baseline on five real heads."""
    if (work / "run" / "model.ckpt").is_file():
        return work / "run"
    work.mkdir(parents=True, exist_ok=True)
    with (work / "heads.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("subject", "image", "sequence", "split"))
        splits = ("train", "train", "val", "val", "test")
        for folder, split in zip(sorted((data / "ixi_t1_2mm").iterdir()), splits, strict=False):
            rows.writerow((folder.name, folder / "T1.nii.gz", "T1w", split))
    cohort = work / "cohort"
    if prepare([str(work / "heads.csv"), str(cohort), "preparation.steps.spacing_mm=2"]):
        raise SystemExit("the training heads could not be prepared")
    command = [sys.executable, str(ROOT / "train.py"), "experiment=intensity", "data=folder"]
    command += [f"data.source={cohort}", "data.spacing_mm=2", f"paths.output_dir={work / 'run'}"]
    command += [f"paths.cache_dir={work / 'cache'}", "report=false", "evaluate=false"]
    subprocess.run(command, check=True)
    return work / "run"


def paint(head: Path, name: str, out: Path) -> tuple[Path, dict[str, Path]]:
    """Writes the head with a lesion on each grid, and the lesion's mask on each.

    Returns:
        The folder of scans, and the mask of each grid.
    """
    image = nib.load(head)
    array = np.asarray(image.dataobj, np.float32).reshape(image.shape[:3])
    points = apply_affine(image.affine, np.moveaxis(np.indices(array.shape), 0, -1))
    native = native_points(np.array(PLACES, float), read_way(to_native(head)))
    truths = {}
    for (grid, change), centre in zip(GRIDS.items(), native, strict=True):
        away = np.linalg.norm(points - centre, axis=-1)
        share = np.clip(RADIUS_MM + 0.5 - away, 0, 1)
        around = np.percentile(array[away < 25], 99)
        painted = array + share * (1.4 * around - array)
        stem = f"{name}-{grid.replace(' ', '')}"
        path = out / f"{stem}_T1w.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(change(Image(painted.astype(np.float32), image.affine)), path)
        truth = change(Image(share.astype(np.float32), image.affine))
        truths[grid] = out.parent / "truth" / f"{stem}.nii.gz"
        truths[grid].parent.mkdir(exist_ok=True)
        nib.save(truth, truths[grid])
    return out, truths


def to_native(head: Path) -> Path:
    """The file with the matrix from MNI to the head without a lesion."""
    folder = Path(tempfile.mkdtemp())
    steps = instantiate(default(2.0).steps, packages=PREPARATION)
    records, failures = prepare_subject([RawScan("head", "T1w", head, healthy=True)], steps, folder)
    assert not failures, failures
    return folder / str(records[0].transform)


def judged(out: Path, table: pd.DataFrame, truth: Path) -> tuple[str, float, str, str]:
    """Return whether the grid came back, the distance in mm, the marked volume, and the status."""
    row = table.loc[f"{stem_of(truth)}_T1w"]
    if row.status == "failed":
        return "no", float("inf"), "nothing", "failed"
    scan = nib.load(row.image)
    same = True
    for kind in ("anomaly", "mask"):
        found = nib.load(out / row[kind])
        codes = all(found.header[c] == scan.header[c] for c in ("sform_code", "qform_code"))
        same &= found.shape == scan.shape and np.array_equal(found.affine, scan.affine) and codes
    lesion = nib.load(truth).get_fdata() > 0.5
    mask = nib.load(out / row["mask"]).get_fdata() > 0
    centre = apply_affine(scan.affine, np.argwhere(lesion).mean(axis=0))
    covered = f"{100 * mask[lesion].mean():.0f} %"
    away = float("inf")
    if (mask & lesion).any():
        # The finding that holds most of the lesion, as the table has it.
        labels = cc3d.connected_components(mask, connectivity=26)
        most = np.bincount(labels[mask & lesion]).argmax()
        place = apply_affine(scan.affine, np.argwhere(labels == most).mean(axis=0))
        findings = pd.read_csv(out / "findings.csv")
        own = findings.loc[findings.scan_id == row.name, ["x_mm", "y_mm", "z_mm"]].to_numpy()
        listed = own[np.linalg.norm(own - place, axis=1).argmin()]
        away = float(np.linalg.norm(listed - centre))
    return "yes" if same else "no", away, covered, str(row.status)


def picture(out: Path, table: pd.DataFrame, truth: Path, path: Path) -> None:
    """Three planes through the lesion: outlines of the mask in red, of the lesion in green."""
    row = table.loc[f"{stem_of(truth)}_T1w"]
    scan, mask, lesion = (
        nib.as_closest_canonical(nib.load(name)).get_fdata()
        for name in (row.image, out / row["mask"], truth)
    )
    centre = np.argwhere(lesion > 0.5).mean(axis=0).astype(int)
    panels = []
    for axis in range(3):
        plane, found, truth = (np.take(a, centre[axis], axis) for a in (scan, mask, lesion))
        panels.append(Panel(plane, outlines=[(found, "red"), (truth, "lime")]))
    path.write_bytes(draw_grid([panels], width=300, scale=1.0).jpeg().jpeg)


if __name__ == "__main__":
    main()

"""Measure the time to find scans against their number.

Makes 100 to 5,000 subjects of one scan each, in every kind of source: a flat folder, BIDS, DICOM
series folders, a CSV. All subjects have a lesion mask in BIDS, every second one in the flat folder
and in the CSV. The files are empty; those of DICOM are one slice of 4 x 4 pixels. Measures the CPU
seconds (the faster of two tries) that two commands take until the scans are listed:

- `prepare` is brainuad-prepare: finding, splits, their check.
- `predict` is brainuad-predict: finding, the stamp of each scan, a look for earlier results.

The exponent is the slope of the logarithms from 400 subjects on: 1 is linear, 2 quadratic. Writes
`growth.json` beside this file and prints it.
"""

import argparse
import csv
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from brainuad.cohorts.find import find_raw
from brainuad.cohorts.split_rules import check_scans
from brainuad.cohorts.splits import assign_splits
from brainuad.inference.find_scans import Wanted, find_wanted
from brainuad.inference.records import read_done, scan_stamp
from brainuad.preparation.from_folder import planned_scan

COUNTS = (100, 200, 400, 800, 1600, 3200, 5000)
FITTED_FROM = 400
"""Smaller numbers are mostly overhead."""

OUT = Path(__file__).with_suffix(".json")
EXAMPLE = """example:
  python experiments/benchmarks/growth.py --sources bids csv --counts 100 200 400 800
"""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--sources", nargs="+", choices=MAKERS, default=list(MAKERS), help="(default: all)")
    add("--counts", nargs="+", type=int, default=COUNTS, help="of subjects (default: %(default)s)")
    add("--json", type=Path, default=OUT, help="file to write (default: %(default)s)")
    arguments = parser.parse_args()
    results: dict[str, dict[str, object]] = {}
    for kind in arguments.sources:
        rows = {count: measure(kind, count) for count in arguments.counts}
        results[kind] = {
            command: {
                "cpu_seconds": {count: round(row[command], 3) for count, row in rows.items()},
                "exponent": exponent({count: row[command] for count, row in rows.items()}),
            }
            for command in ("prepare", "predict")
        }
        print(kind, json.dumps(results[kind]), flush=True)
    arguments.json.write_text(json.dumps(results, indent=2) + "\n")


def measure(kind: str, count: int) -> dict[str, float]:
    """CPU seconds of each command for one source."""
    with tempfile.TemporaryDirectory() as name:
        source = MAKERS[kind](Path(name), count)

        def prepare() -> int:
            scans = assign_splits(find_raw(source, "T1w"), 0, 0.15, 0.15)
            check_scans([planned_scan(scan) for scan in scans], source)
            return len(scans)

        def stamp(item: Wanted) -> str:
            return scan_stamp(item.scan)

        def predict() -> int:
            out = Path(name) / "out"
            wanted = find_wanted(source, "T1w", out).wanted
            return len([item for item in wanted if not read_done(out, item, stamp)])

        return {"prepare": seconds(prepare, count), "predict": seconds(predict, count)}


def seconds(function: Callable[[], int], count: int) -> float:
    """CPU seconds of the faster of two calls, which have to find `count` scans."""
    found = []
    for _ in range(2):
        start = time.process_time()
        assert function() == count
        found.append(time.process_time() - start)
    return min(found)


def exponent(rows: dict[int, float]) -> float | None:
    """Slope of log seconds over log subjects; None for fewer than two numbers."""
    points = [(count, value) for count, value in rows.items() if count >= FITTED_FROM]
    if len(points) < 2:
        return None
    counts, values = np.log(np.array(points).T)
    return round(float(np.polyfit(counts, values, 1)[0]), 2)


def flat(folder: Path, count: int) -> Path:
    """`s0000_T1w.nii.gz` and so on in one folder, `s0000_lesion.nii.gz` for every second one."""
    for number in range(count):
        touch(folder / "scans" / f"s{number:04d}_T1w.nii.gz")
        if number % 2 == 0:
            touch(folder / "scans" / f"s{number:04d}_lesion.nii.gz")
    return folder / "scans"


def bids(folder: Path, count: int) -> Path:
    """A session a subject, the masks under derivatives."""
    root = folder / "bids"
    for number in range(count):
        name = f"sub-{number}"
        touch(root / name / "ses-1" / "anat" / f"{name}_ses-1_T1w.nii.gz")
        masks = root / "derivatives" / "manual" / name / "ses-1" / "anat"
        touch(masks / f"{name}_ses-1_label-lesion_mask.nii.gz")
    return root


def dicom(folder: Path, count: int) -> Path:
    """A folder a subject, in it one of one series; DICOM has no lesion masks."""
    slice_ = folder / "slice.dcm"
    sitk.WriteImage(sitk.Image(4, 4, sitk.sitkUInt16), str(slice_))
    for number in range(count):
        series = folder / "dicom" / f"s{number:04d}" / "series"
        series.mkdir(parents=True)
        shutil.copyfile(slice_, series / "0.dcm")
    return folder / "dicom"


def table(folder: Path, count: int) -> Path:
    """The flat folder, listed in a CSV."""
    scans = flat(folder, count)
    with (folder / "scans.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("subject", "image", "lesion_mask"))
        for image in sorted(scans.glob("*_T1w.nii.gz")):
            subject = image.name.removesuffix("_T1w.nii.gz")
            mask = scans / f"{subject}_lesion.nii.gz"
            writer.writerow((subject, image, mask if mask.is_file() else ""))
    return folder / "scans.csv"


def touch(path: Path) -> None:
    """Makes an empty file and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


MAKERS = {"flat": flat, "bids": bids, "dicom": dicom, "csv": table}
"""Each makes a source in an empty folder."""


if __name__ == "__main__":
    main()

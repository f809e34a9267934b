"""Classes of findings against the kinds of lesion, which no feature knows.

    python -m experiments.classes.study development   # seed 1: features were chosen on it
    python -m experiments.classes.study embedded      # seed 0: reported once
    python -m experiments.classes.study real          # real scans marked by `universal`

writes `PART.csv` and pictures beside this file. Masks of `madad_clean` on seed 0 are those of
`runs/benchmark/embedded`; all other masks are made here and kept in `--work`.
"""

import argparse
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
import pandas as pd
from PIL import Image
from sklearn.metrics import adjusted_rand_score

from brainuad.classes.features import describe
from brainuad.classes.groups import Classes, grouped
from brainuad.classes.results import Marked, MarkedScan, marked_scans
from brainuad.classes.write import draw_classes
from brainuad.cohorts.manifest import Cohort, Scan
from brainuad.cohorts.map_folder import MapFolder
from brainuad.errors import InputError
from brainuad.machine.failures import Failures
from brainuad.machine.files import write_text
from brainuad.machine.text import csv_text, say
from brainuad.model.api import load
from brainuad.model.model import Model
from brainuad.model.runtime import Runtime
from brainuad.reporting.drawing.panels import Picture
from brainuad.reporting.run_folder import read_run
from brainuad.synthetic.phantom.cached import phantom_cohort
from brainuad.volumes.nifti import read_mask, read_volume, write_volume

HERE = Path(__file__).parent
COUNTS = {
    "development": {"seed": 1, "test": 0, "tumour": 12, "ms": 8, "stroke": 12},
    "embedded": {"seed": 0, "test": 6, "tumour": 16, "ms": 8, "stroke": 16},
}
SEQUENCES = ("FLAIR", "T2w")
KINDS = 3
LEAST_MM3 = 50.0
"""Smallest finding, that of the default post-processing, also of the true masks."""
PICTURED = ("embedded", "FLAIR", "universal")
"""Part, sequence and masks with a picture beside this file."""
OVERLAP = 0.1
"""Smallest share of a finding in the lesion for its kind to be known."""
REAL = ("lgg", "flair_cases", "elderly")


def synthetic(part: str, runs: Path, work: Path) -> Iterator[tuple[str, str, Classes, pd.Series]]:
    """Yield sequence, masks, classes (given, then chosen) and kinds of a synthetic sample."""
    counts = {**COUNTS[part], "train": 0, "val": 0}
    cohort = phantom_cohort(work, sequences=("T2w", "FLAIR"), **counts)
    for sequence in SEQUENCES:
        scans = [scan for scan in cohort.scans if scan.sequence == sequence]
        for name in ("true masks", "universal", "madad_clean"):
            folder = None if name == "true masks" else _masks(name, part, scans, runs, work)
            table = pd.concat([_described(scan, folder) for scan in scans], ignore_index=True)
            for count in (KINDS, None):
                classes = grouped(table, count)
                yield sequence, name, classes, table["kind"]
                if count and (part, sequence, name) == PICTURED:
                    own = [Marked(s.subject, s.who, partial(_read, s, folder)) for s in scans]
                    _montage(draw_classes(classes.table, own, 4), HERE / "embedded.jpg")


def _masks(name: str, part: str, scans: Sequence[Scan], runs: Path, work: Path) -> MapFolder:
    """Return a folder of predicted masks, made where they are not there."""
    sequence = scans[0].sequence
    run = runs / "benchmark" / "embedded" / "madad_clean" / f"{sequence}-0"
    if name == "madad_clean" and part == "embedded":
        return MapFolder(run / "prepared")
    folder = MapFolder(work / part / name / sequence)
    todo = [scan for scan in scans if not folder.file(scan.subject, "mask").is_file()]
    if todo:
        model = (
            load("universal", sequence=sequence)
            if name == "universal"
            else Model.load(run, Runtime())
        )
        for scan in model.views(todo, Failures()):
            found = model.detect_scan(scan)
            image, brain = read_volume(scan.image), read_mask(scan.brain_mask)
            chain, spacing = model.postprocess, image.spacing_mm
            score = chain.score(found.anomaly_map[0].numpy(), brain, spacing)
            limit = model.known.threshold_of(chain)(score, brain, spacing)
            mask = chain.segment(score, brain, spacing, limit)
            write_volume(folder.file(scan.subject, "mask"), mask, image.affine, np.uint8)
    return folder


def _read(scan: Scan, folder: MapFolder | None) -> MarkedScan:
    """Return a scan with its findings: components of `LEAST_MM3` and more."""
    image, brain = read_volume(scan.image), read_mask(scan.brain_mask)
    mask = _truth(scan, brain) if folder is None else read_mask(folder.file(scan.subject, "mask"))
    least = int(np.ceil(LEAST_MM3 / np.prod(image.spacing_mm)))
    mask = cc3d.dust((mask & brain).astype(np.uint8), threshold=least, connectivity=26)
    labels = cc3d.connected_components(mask, connectivity=26).astype(np.int32)
    return MarkedScan(image, labels, brain)


def _truth(scan: Scan, like: np.ndarray) -> np.ndarray:
    return read_mask(scan.lesion_mask) if scan.lesion_mask else np.zeros(like.shape, bool)


def _described(scan: Scan, folder: MapFolder | None) -> pd.DataFrame:
    """Return the findings of a scan with `kind`, that of the lesion they overlap; or empty."""
    found = _read(scan, folder)
    if not found.labels.any():
        return pd.DataFrame()
    table = describe(found.labels, found.image.array, found.brain_mask, found.image.affine)
    truth = _truth(scan, found.brain_mask)
    return table.assign(scan_id=scan.subject, kind=_kinds(found.labels, truth, scan.pathology))


def _kinds(labels: np.ndarray, truth: np.ndarray, pathology: str) -> list[str]:
    size = np.bincount(labels.ravel())[1:]
    hit = np.bincount(labels[truth], minlength=len(size) + 1)[1:]
    return [pathology if share >= OVERLAP else "" for share in hit / size]


def score(classes: Classes, kinds: pd.Series) -> dict[str, float]:
    """Return the adjusted Rand index of findings and of scans whose kind is known."""
    table = classes.table.assign(kind=kinds.to_numpy())
    known = table[table["kind"] != ""]
    scans = known.drop_duplicates("scan_id")
    return {
        "classes": int(table["class"].max()),
        "ari": adjusted_rand_score(known["kind"], known["class"]),
        "ari_scans": adjusted_rand_score(scans["kind"], scans["scan_class"]),
        "findings": len(table),
        "known": len(known),
        "scans": len(scans),
    }


def real(runs: Path) -> tuple[pd.DataFrame, list[Marked]]:
    """Return the findings of real scans with their kinds, and the scans."""
    parts, scans = [], []
    for name in REAL:
        folder = runs / "real" / name / "universal" / "FLAIR-0"
        cohort = read_run(folder).cohort
        assert isinstance(cohort, Cohort)
        rows = {scan.subject: scan for scan in cohort.scans if scan.sequence == "FLAIR"}
        for one in marked_scans(folder):
            try:
                found = one.read()
            except InputError as error:
                say(f"warning: {error}")
                continue
            if not found.labels.any():
                continue
            row = rows[one.scan_id]
            truth = np.zeros(found.labels.shape, bool)
            if row.lesion_mask is not None:
                truth = read_mask(row.lesion_mask)
            affine = found.image.affine
            table = describe(found.labels, found.image.array, found.brain_mask, affine)
            kind = _kinds(found.labels, truth, row.pathology or name)
            parts.append(table.assign(scan_id=one.scan_id, subject=one.subject, kind=kind))
            scans.append(one)
    return pd.concat(parts, ignore_index=True), scans


def main() -> int:
    """Run a part of the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=[*COUNTS, "real"])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--work", type=Path, default=Path("cache/classes"))
    arguments = parser.parse_args()
    rows = []
    if arguments.part == "real":
        table, scans = real(arguments.runs)
        for count in (KINDS, None):
            classes = grouped(table, count)
            rows.append(
                {"classes_by": "given" if count else "chosen", **score(classes, table.kind)}
            )
            crossed = pd.crosstab(table["kind"].replace("", "no lesion"), classes.table["class"])
            say(crossed.to_string())
            own = classes.table.assign(kind=table["kind"]).query("kind != ''")
            own = own.drop_duplicates("scan_id")
            say(pd.crosstab(own["kind"], own["scan_class"]).to_string())
            if count:
                drawn = draw_classes(classes.table, scans, 4)
                _montage(drawn, arguments.work / "real.jpg")
    else:
        for sequence, name, classes, kinds in synthetic(
            arguments.part, arguments.runs, arguments.work
        ):
            by = "given" if classes.given else "chosen"
            found = {"sequence": sequence, "masks": name, "classes_by": by}
            rows.append({**found, **score(classes, kinds)})
            _write(rows, arguments.part)
            say(rows[-1])
            if classes.given:
                crossed = pd.crosstab(kinds.to_numpy(), classes.table["class"].to_numpy())
                say(crossed.to_string())
    _write(rows, arguments.part)
    return 0


def _montage(drawn: Mapping[int, tuple[Picture, str]], out: Path) -> None:
    """Write the pictures of classes below one another."""
    images = [Image.open(io.BytesIO(picture.jpeg)) for picture, _ in drawn.values()]
    size = max(image.width for image in images), sum(image.height for image in images)
    sheet = Image.new("RGB", size)
    top = 0
    for image in images:
        sheet.paste(image, (0, top))
        top += image.height
    sheet.save(out, "JPEG", quality=80, optimize=True)


def _write(rows: list[dict[str, Any]], part: str) -> None:
    write_text(HERE / f"{part}.csv", csv_text(pd.DataFrame(rows), float_format="%.4g"))


if __name__ == "__main__":
    sys.exit(main())

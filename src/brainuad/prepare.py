"""Makes cohorts: the embedded phantom, or a folder of brain-extracted scans.

brainuad-prepare phantom OUT
brainuad-prepare folder SOURCE OUT
"""

import argparse
import csv
import hashlib
import io
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from brainuad.cli import run_cli
from brainuad.data.folder import RawScan, assign_splits, find_scans
from brainuad.data.manifest import MANIFEST, Cohort, Scan, check_scans, read_cohort, write_cohort
from brainuad.errors import InputError, PartialFailure
from brainuad.files import write_json, write_text

PERCENTILES = (1.0, 99.9)
"""Of the brain's intensities, become 0 and 1. A lower upper one would tie the brightest lesions."""

HELD_OUT = 0.15
"""Share of the healthy subjects in `val`, and as much in `test`."""


def phantom_cohort(cache_dir: Path, **parameters: Any) -> Cohort:
    """The embedded cohort, made at the first call and found by its parameters after.

    Args:
        cache_dir: where cohorts are kept.
        parameters: of `brainuad.data.phantom.write_phantom_cohort`.
    """
    from brainuad.data.phantom import write_phantom_cohort

    recipe = {key: value for key, value in parameters.items() if key != "jobs"}
    out = Path(cache_dir) / "cohorts" / f"phantom-{_digest(recipe)}"
    if not (out / MANIFEST).is_file():
        write_phantom_cohort(out, **parameters)
    return read_cohort(out)


def folder_cohort(
    source: Path | None,
    cache_dir: Path,
    sequence: str,
    spacing_mm: float = 2.0,
    low_percentile: float = PERCENTILES[0],
    high_percentile: float = PERCENTILES[1],
    val_fraction: float = HELD_OUT,
    test_fraction: float = HELD_OUT,
    seed: int = 0,
    limit: int | None = None,
) -> Cohort:
    """A cohort folder as it is, or one made from a plain folder or CSV of brain-extracted scans.

    Args:
        source: cohort folder, plain folder or `.csv`; see `brainuad.data.folder.find_scans`.
        cache_dir: where prepared cohorts are kept; found again by the source's content.
        sequence: what a scan is whose name or row does not tell.
        spacing_mm: edge length of the prepared voxels in mm.
        low_percentile: of the brain's intensity, becomes 0.
        high_percentile: becomes 1.
        val_fraction: share of the healthy subjects.
        test_fraction: share of the healthy subjects.
        seed: of the splits.
        limit: at most so many subjects a split, healthy and not; None for all.

    Raises:
        InputError: nothing to read, a subject in two splits, or no scan could be prepared.
    """
    if source is None:
        raise InputError("data.source is not set; give a folder or CSV: data.source=PATH")
    source = Path(source)
    if (source / MANIFEST).is_file():
        cohort = read_cohort(source)
        return Cohort(cohort.root, tuple(_limited(cohort.scans, limit)), cohort.info)
    raw = assign_splits(find_scans(source, sequence), seed, val_fraction, test_fraction)
    raw = _limited(raw, limit)
    check_scans([_planned(scan) for scan in raw], source)
    steps = {"spacing_mm": spacing_mm, "percentiles": [low_percentile, high_percentile]}
    rows = [[str(item) for item in asdict(scan).values()] + _stamps(scan) for scan in raw]
    out = Path(cache_dir) / "cohorts" / f"{source.stem}-{_digest([rows, steps])}"
    if (out / MANIFEST).is_file():
        return read_cohort(out)
    return prepare_scans(raw, out, source, steps)


def prepare_scans(raw: Sequence[RawScan], out: Path, source: Path, steps: dict[str, Any]) -> Cohort:
    """Prepares each scan into `out`; a scan that was done before is kept, a bad one is listed.

    Raises:
        InputError: not one scan could be prepared.
    """
    from rich.progress import track

    from brainuad.preparation.extracted import prepare_extracted

    scans, failures = [], []
    for scan in track(raw, description="preparing"):
        record = out / "scans" / f"{scan.subject}_{scan.sequence}.json"
        try:
            # The record comes last, so a scan that has one is whole.
            if not record.is_file():
                write_json(record, prepare_extracted(scan, out, **steps))
            scans.append(_prepared(scan, out, json.loads(record.read_text())))
        except InputError as error:
            failures.append((scan.subject, str(error)))
    if not scans:
        raise InputError(f"{source}: no scan could be prepared; the first: {failures[0][1]}")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("subject", "reason"), *failures])
    write_text(out / "failures.csv", text.getvalue())
    info = {"name": source.stem, "source": str(source), "steps": steps, "failures": failures}
    return write_cohort(out, scans, info)


def cohort_failures(cohort: Cohort) -> list[tuple[str, str]]:
    """Subjects that could not be prepared, with the reason."""
    return [(subject, reason) for subject, reason in cohort.info.get("failures", [])]


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `brainuad-prepare`; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="brainuad-prepare",
        description="Make a cohort folder: manifest.csv, cohort.json and prepared volumes.",
        epilog="example: brainuad-prepare phantom cohorts/phantom --spacing-mm 3",
    )
    kinds = parser.add_subparsers(dest="kind", required=True)
    phantom = kinds.add_parser(
        "phantom",
        help="the embedded cohort of synthetic brains",
        epilog="example: brainuad-prepare phantom cohorts/phantom --spacing-mm 3 --train 8",
    )
    phantom.add_argument("out", type=Path, help="cohort folder to make")
    phantom.add_argument("--spacing-mm", type=float, default=2.0, choices=(1.0, 2.0, 3.0))
    phantom.add_argument("--seed", type=int, default=0)
    phantom.add_argument("--sequences", nargs="+", default=["T1w", "T2w", "FLAIR"])
    for split in ("train", "val", "test", "tumour", "ms", "stroke"):
        phantom.add_argument(f"--{split}", type=int, help=f"number of {split} subjects")
    phantom.add_argument("--jobs", type=int, default=1, help="processes")
    folder = kinds.add_parser(
        "folder",
        help="brain-extracted scans with optional masks",
        epilog="example: brainuad-prepare folder scans/ cohorts/mine --sequence T2w",
    )
    folder.add_argument("source", type=Path, help="folder or .csv with a column 'image'")
    folder.add_argument("out", type=Path, help="cohort folder to make")
    folder.add_argument("--sequence", default="T1w", help="of scans whose name does not tell")
    folder.add_argument("--spacing-mm", type=float, default=2.0)
    folder.add_argument("--seed", type=int, default=0, help="of the splits")
    return run_cli(_prepare, parser, argv)


def _prepare(arguments: argparse.Namespace) -> int:
    if arguments.kind == "phantom":
        from brainuad.data.phantom import write_phantom_cohort

        counts = {
            name: getattr(arguments, name)
            for name in ("train", "val", "test", "tumour", "ms", "stroke")
            if getattr(arguments, name) is not None
        }
        cohort = write_phantom_cohort(
            arguments.out,
            seed=arguments.seed,
            spacing_mm=arguments.spacing_mm,
            sequences=tuple(arguments.sequences),
            jobs=arguments.jobs,
            **counts,
        )
    else:
        raw = assign_splits(
            find_scans(arguments.source, arguments.sequence), arguments.seed, HELD_OUT, HELD_OUT
        )
        check_scans([_planned(scan) for scan in raw], arguments.source)
        steps = {"spacing_mm": arguments.spacing_mm, "percentiles": list(PERCENTILES)}
        cohort = prepare_scans(raw, arguments.out, arguments.source, steps)
    print(f"{cohort.root}: {len(cohort.scans)} scans, see {MANIFEST}")
    if failures := cohort_failures(cohort):
        raise PartialFailure(failures)
    return 0


def _planned(scan: RawScan) -> Scan:
    return Scan(
        subject=scan.subject,
        sequence=scan.sequence,
        image=scan.image,
        brain_mask=scan.image,
        healthy=scan.healthy,
        split=scan.split,
    )


def _prepared(scan: RawScan, out: Path, record: dict[str, Any]) -> Scan:
    return Scan(
        subject=scan.subject,
        sequence=scan.sequence,
        image=out / record["image"],
        brain_mask=out / record["brain_mask"],
        lesion_mask=out / record["lesion_mask"] if record["lesion_mask"] else None,
        healthy=scan.healthy,
        split=scan.split,
        site=scan.site,
        pathology=scan.pathology,
        native_image=scan.image.absolute(),
        native_lesion_mask=scan.lesion_mask.absolute() if scan.lesion_mask else None,
    )


def _limited(scans: Sequence[Any], limit: int | None) -> list[Any]:
    if limit is None:
        return list(scans)
    seen: dict[tuple[str, bool, str], set[str]] = defaultdict(set)
    kept = []
    for scan in scans:
        group = seen[scan.split, scan.healthy, scan.pathology]
        if scan.subject in group or len(group) < limit:
            group.add(scan.subject)
            kept.append(scan)
    return kept


def _stamps(scan: RawScan) -> list[str]:
    paths = [path for path in (scan.image, scan.brain_mask, scan.lesion_mask) if path]
    stats = [path.stat() for path in paths if path.is_file()]
    return [f"{stat.st_size}:{stat.st_mtime_ns}" for stat in stats]


def _digest(recipe: Any) -> str:
    text = json.dumps(recipe, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]

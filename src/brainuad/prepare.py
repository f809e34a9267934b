"""Makes cohorts: from raw heads, or the embedded phantom.

brainuad-prepare SOURCE OUT
brainuad-prepare phantom OUT
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from brainuad.cli import run_cli
from brainuad.cohorts.find import RawScan
from brainuad.cohorts.manifest import MANIFEST, Cohort, Scan, check_scans, read_cohort
from brainuad.cohorts.sources import find_raw
from brainuad.cohorts.splits import assign_splits
from brainuad.errors import InputError, PartialFailure
from brainuad.machine.files import lock
from brainuad.machine.fingerprint import short_hash
from brainuad.settings.compose import compose_preparation
from brainuad.settings.instantiate import PREPARATION, instantiate
from brainuad.settings.moved import as_before, retargeted

PERCENTILES = (1.0, 99.9)
"""Of the brain's intensities, become 0 and 1. A lower upper one would tie the brightest lesions."""

PHANTOMS = ("train", "val", "test", "tumour", "ms", "stroke")

EXAMPLES = """examples:
  brainuad-prepare scans/ cohorts/mine --jobs 4
  brainuad-prepare bids/ cohorts/mine sequence=FLAIR preparation.steps.spacing_mm=2
  brainuad-prepare brains.csv cohorts/mine preparation=extracted preparation/normalise=nyul
"""

HELD_OUT = 0.15
"""Share of the healthy subjects in `val`, and as much in `test`."""


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
        source: cohort folder, plain folder or `.csv`; see `brainuad.cohorts.find.find_scans`.
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
    from brainuad.preparation.cohort import prepare_cohort
    from brainuad.preparation.normalise.intensity import Percentile
    from brainuad.preparation.quality.measures import Limits
    from brainuad.preparation.skullstrip.extracted import Extracted
    from brainuad.preparation.subject import Preparation
    from brainuad.settings.describe import recipe_of

    if source is None:
        raise InputError("data.source is not set; give a folder or CSV: data.source=PATH")
    source = Path(source)
    if (source / MANIFEST).is_file():
        cohort = read_cohort(source)
        return Cohort(cohort.root, tuple(_limited(cohort.scans, limit)), cohort.info)
    raw = find_raw(source, sequence)
    raw = assign_splits(raw, seed, val_fraction, test_fraction)
    check_scans([_planned(scan) for scan in raw], source)
    raw = _limited(raw, limit)
    steps = Preparation(Extracted(), None, None, None, ("T1w", "T2w", "FLAIR"), spacing_mm)
    normalise = Percentile(low_percentile, high_percentile)
    rows = [[str(item) for item in asdict(scan).values()] + _stamps(scan) for scan in raw]
    key = short_hash([rows, retargeted(recipe_of((steps, normalise)), as_before)])
    out = Path(cache_dir) / "cohorts" / f"{source.stem}-{key}"
    with lock(out):
        if (out / MANIFEST).is_file():
            return read_cohort(out)
        return prepare_cohort(raw, steps, normalise, Limits(), out, source)


def cohort_failures(cohort: Cohort) -> list[tuple[str, str]]:
    """Subjects that could not be prepared, with the reason."""
    return [(subject, reason) for subject, reason in cohort.info.get("failures", [])]


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `brainuad-prepare`; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["phantom"]:
        return _phantom_main(words[1:])
    parser = argparse.ArgumentParser(
        prog="brainuad-prepare",
        description="Make a cohort folder from raw heads: reorient, find the brain, correct the "
        "bias field, register to the atlas, resample, normalise; with qc.html to look at. "
        "'brainuad-prepare phantom --help' is about the embedded cohort.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source", type=Path, help="NIfTI file or folder, CSV, BIDS dataset, DICOM series folders"
    )
    parser.add_argument("out", type=Path, help="cohort folder to make, or to go on with")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: %(default)s)")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="of configs/prepare.yaml, as in Hydra"
    )
    return run_cli(_prepare, parser, words)


def _prepare(arguments: argparse.Namespace) -> int:
    from brainuad.preparation.cohort import prepare_cohort, read_record
    from brainuad.reporting.quality import write_quality

    cfg = compose_preparation(arguments.overrides)
    source, out = arguments.source, arguments.out
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    if (source / MANIFEST).is_file():
        raise InputError(f"{source}: is a prepared cohort already; train on it with data.source=")
    raw = find_raw(source, cfg.sequence)
    raw = assign_splits(
        raw, cfg.seed, cfg.val_fraction, cfg.test_fraction, folds=cfg.folds, fold=cfg.fold
    )
    check_scans([_planned(scan) for scan in raw], source)
    steps = instantiate(cfg.preparation.steps, packages=PREPARATION)
    cohort = prepare_cohort(
        raw,
        steps,
        instantiate(cfg.preparation.normalise, packages=PREPARATION),
        instantiate(cfg.preparation.limits, packages=PREPARATION),
        out,
        source,
        arguments.jobs,
    )
    records = {f"{s.subject}_{s.sequence}": read_record(cohort, s) for s in cohort.scans}
    print(f"look at {write_quality(cohort, records, steps.load_atlas())}")
    flags = cohort.info["flags"]
    print(f"{cohort.root}: {len(cohort.scans)} scans, {len(flags)} flagged, see {MANIFEST}")
    if failures := cohort_failures(cohort):
        raise PartialFailure(failures)
    return 0


def _phantom_main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="brainuad-prepare phantom",
        description="The embedded cohort of synthetic brains.",
        epilog="example: brainuad-prepare phantom cohorts/phantom --spacing-mm 3 --train 8",
    )
    parser.add_argument("out", type=Path, help="cohort folder to make")
    parser.add_argument("--spacing-mm", type=float, default=2.0, choices=(1.0, 2.0, 3.0))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sequences", nargs="+", default=["T1w", "T2w", "FLAIR"])
    for split in PHANTOMS:
        parser.add_argument(f"--{split}", type=int, help=f"number of {split} subjects")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    return run_cli(_phantom, parser, words)


def _phantom(arguments: argparse.Namespace) -> int:
    from brainuad.synthetic.phantom import write_phantom_cohort

    counts = {
        name: getattr(arguments, name) for name in PHANTOMS if getattr(arguments, name) is not None
    }
    cohort = write_phantom_cohort(
        arguments.out,
        seed=arguments.seed,
        spacing_mm=arguments.spacing_mm,
        sequences=tuple(arguments.sequences),
        jobs=arguments.jobs,
        **counts,
    )
    print(f"{cohort.root}: {len(cohort.scans)} scans, see {MANIFEST}")
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

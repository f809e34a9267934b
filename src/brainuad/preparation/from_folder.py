"""A cohort from a folder: a prepared one as it is, or brain-extracted scans prepared now."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from brainuad.cohorts.account import account
from brainuad.cohorts.copies import said_of_copies
from brainuad.cohorts.find import find_all, refuse_missing, refuse_unused
from brainuad.cohorts.manifest import MANIFEST, Cohort, read_cohort
from brainuad.cohorts.scans import Found, RawScan
from brainuad.cohorts.split_rules import check_scans
from brainuad.cohorts.splits import assign_splits, planned_scan
from brainuad.errors import InputError
from brainuad.machine.fingerprint import short_hash
from brainuad.machine.locks import lock
from brainuad.machine.text import say
from brainuad.settings.moved import as_before, retargeted

PERCENTILES = (1.0, 99.9)
"""Percentiles of the brain that become 0 and 1. A lower upper one would clip bright lesions."""


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
    allow_unused: bool = False,
    check: Callable[[Cohort], None] | None = None,
) -> Cohort:
    """A cohort folder as it is, or one made from a plain folder or CSV of brain-extracted scans.

    Scans that share a space keep it (`brainuad.preparation.shared_grid`), others are cropped each
    to its own brain.

    Args:
        source: cohort folder, plain folder or `.csv`; see `brainuad.cohorts.find.find_all`.
        cache_dir: folder of prepared cohorts; found again by the source's content.
        sequence: sequence of a scan whose name or row does not state it.
        spacing_mm: edge length of the prepared voxels in mm.
        low_percentile: percentile of the brain's intensity that becomes 0.
        high_percentile: percentile that becomes 1.
        val_fraction: share of the healthy subjects.
        test_fraction: share of the healthy subjects.
        seed: random seed of the splits.
        limit: largest number of subjects per split, healthy and not; None for all.
        allow_unused: go on where a mask belongs to nobody.
        check: refuses the cohort as it will be, before any scan is prepared; None for no check.

    Raises:
        InputError: nothing to read, a subject in two splits, or no scan could be prepared.
    """
    from brainuad.preparation.cohort import prepare_cohort
    from brainuad.preparation.normalise.intensity import Percentile
    from brainuad.preparation.one_space import told_spaces, with_shared_grids
    from brainuad.preparation.pipeline import Preparation
    from brainuad.preparation.planned_grids import require_grids
    from brainuad.preparation.quality.measures import Limits
    from brainuad.preparation.skullstrip.extracted import Extracted

    source, ready = cohort_given(source, limit)
    if ready is not None:
        return ready
    found = find_all(source, sequence, extracted=True)
    shares = (seed, val_fraction, test_fraction)
    raw = planned(found, source, shares, limit, allow_unused, check)
    steps = Preparation(Extracted(), None, None, None, ("T1w", "T2w", "FLAIR"), spacing_mm)
    normalise = Percentile(low_percentile, high_percentile)
    require_grids(raw, steps)
    out = cache_folder(cache_dir, source, raw, (steps, normalise), told_spaces(raw))
    with lock(out):
        if (out / MANIFEST).is_file():
            cohort = read_cohort(out)
            for line in cohort.record.spaces:
                say(line)
            return cohort
        steps, lines = with_shared_grids(raw, steps)
        for line in lines:
            say(line)
        return prepare_cohort(raw, steps, normalise, Limits(), out, source, spaces=lines)


def cohort_given(source: Path | None, limit: int | None) -> tuple[Path, Cohort | None]:
    """The source, and the cohort in it where it is a cohort folder.

    Raises:
        InputError: no source is set, or the cohort folder is damaged.
    """
    if source is None:
        raise InputError("data.source is not set; give a folder or CSV: data.source=PATH")
    source = Path(source)
    if not (source / MANIFEST).is_file():
        return source, None
    cohort = read_cohort(source)
    return source, Cohort(cohort.root, tuple(limited(cohort.scans, limit)), cohort.info)


def planned(
    found: Found,
    source: Path,
    shares: tuple[int, float, float],
    limit: int | None,
    allow_unused: bool,
    check: Callable[[Cohort], None] | None,
) -> list[RawScan]:
    """Return the scans to prepare, with their splits.

    Args:
        found: scans of the source.
        source: folder or table, for messages.
        shares: seed of the splits, and the shares of validation and test.
        limit: largest number of subjects per split; None for all.
        allow_unused: go on where a mask belongs to nobody.
        check: refuses the planned cohort; None for no check.

    Raises:
        InputError: as `look_over` and `check`.
    """
    raw = assign_splits(found.scans, *shares)
    look_over(found, raw, source, "" if allow_unused else "data.cohort.allow_unused=true")
    raw = limited(raw, limit)
    if check is not None:
        check(Cohort(source, tuple(map(planned_scan, raw)), {}))
    return raw


def cache_folder(
    cache_dir: Path,
    source: Path,
    raw: Sequence[RawScan],
    how: tuple[Any, ...],
    told: Sequence[str] = (),
) -> Path:
    """Return the folder of the cohort with these rows, files and parameters.

    Args:
        cache_dir: folder of all cohorts.
        source: folder or table that names it.
        raw: its scans.
        how: steps and normalisation.
        told: sequences whose scans say that they share a space; none is found where it was before
            spaces were kept.
    """
    from brainuad.settings.describe import recipe_of

    rows = [[str(item) for item in asdict(scan).values()] + _stamps(scan) for scan in raw]
    by = [rows, retargeted(recipe_of(how), as_before), *([list(told)] if told else [])]
    key = short_hash(by)
    return Path(cache_dir) / "cohorts" / f"{source.stem}-{key}"


def look_over(
    found: Found, raw: Sequence[RawScan], source: Path, option: str, whole: bool = False
) -> None:
    """Print the interpretation of the source, and refuse an impossible one, before the work.

    Args:
        found: scans of the source.
        raw: its scans with their splits.
        source: name of the source in messages.
        option: setting that allows masks without a scan; empty where they are allowed.
        whole: whether to print every scan and file.

    Raises:
        InputError: as `refuse_unused`, `refuse_missing` and `check_scans`.
    """
    found.notes += said_of_copies(raw)
    say(account(found, raw, whole))
    if option:
        refuse_unused(found, option)
    refuse_missing(found)
    check_scans([planned_scan(scan) for scan in raw], source)


def limited(scans: Sequence[Any], limit: int | None) -> list[Any]:
    """Return the first `limit` subjects per split, pathology and health; None for all."""
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
    # A series is a folder of files.
    files = [one for path in paths for one in (sorted(path.iterdir()) if path.is_dir() else [path])]
    stats = [path.stat() for path in files if path.is_file()]
    return [f"{stat.st_size}:{stat.st_mtime_ns}" for stat in stats]

"""k-fold cross-validation over the healthy subjects (docs/explanation/protocol.md#1-splits)."""

from dataclasses import replace

from brainuad.cohorts.manifest import Cohort
from brainuad.cohorts.scans import RawScan
from brainuad.cohorts.splits import assign_splits
from brainuad.errors import InputError


def with_fold(cohort: Cohort, folds: int, fold: int, seed: int = 0) -> Cohort:
    """The cohort with its healthy training and validation subjects dealt out anew.

    The test subjects, and pathological validation subjects, stay as they are.

    Args:
        cohort: any.
        folds: k; 1 leaves the cohort as it is.
        fold: which part is for validation, 0 to k - 1.
        seed: random seed of the folds.

    Raises:
        InputError: `fold` is not below `folds`, or there are fewer healthy subjects than folds.
    """
    if folds == 1 and fold == 0:
        return cohort
    if folds <= 1:
        raise InputError(f"data.fold is {fold} with data.folds={folds}; set data.folds=5, say")
    pool = [scan for scan in cohort.scans if scan.healthy and scan.split in ("train", "val")]
    raw = [RawScan(s.who, s.sequence, s.image, True, site=s.site) for s in pool]
    dealt = assign_splits(raw, seed, 0.0, 0.0, folds=folds, fold=fold)
    splits = {scan.subject: scan.split for scan in dealt}
    scans = tuple(
        replace(scan, split=splits[scan.who])
        if scan.healthy and scan.split in ("train", "val")
        else scan
        for scan in cohort.scans
    )
    return Cohort(cohort.root, scans, cohort.info)

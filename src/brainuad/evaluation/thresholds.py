"""Thresholds fitted on validation subjects (docs/protocol.md#2-thresholds)."""

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from brainuad.cohorts.manifest import Cohort
from brainuad.errors import InputError
from brainuad.evaluation.scoring import score_subject, score_volume
from brainuad.metrics import voxel
from brainuad.postprocess.pipeline import Postprocess
from brainuad.postprocess.threshold import HealthyThreshold

Failures = list[tuple[str, str]]
"""(subject, one-line reason)."""


def fit_healthy_threshold(
    cohort: Cohort, sequence: str, maps: Path, postprocess: Postprocess, *, space: str = "native"
) -> tuple[float, Failures]:
    """Fit the threshold on maps of healthy val subjects (docs/protocol.md#2-thresholds).

    Returns:
        The threshold, and the subjects whose map could not be read, with the reason.

    Raises:
        InputError: no healthy validation subject, or not one map could be read.
    """
    cohort.select("val", sequence, healthy=True)
    with tempfile.TemporaryDirectory(prefix="brainuad-") as spool:
        scores, failures = healthy_scores(cohort, sequence, maps, postprocess, space, Path(spool))
        return fit_healthy(scores, failures, maps, postprocess.threshold), failures


def healthy_scores(
    cohort: Cohort, sequence: str, maps: Path, postprocess: Postprocess, space: str, spool: Path
) -> tuple[list[np.ndarray], Failures]:
    """Sorted scores of each healthy validation subject's brain, on disk."""
    scores: list[np.ndarray] = []
    failures: Failures = []
    for index, scan in enumerate(cohort.select("val", sequence, healthy=True, allow_empty=True)):
        try:
            found = score_volume(scan, maps, postprocess, space)
        except InputError as error:
            failures.append((scan.subject, str(error)))
            continue
        path = spool / f"val{index}.npy"
        np.save(path, np.sort(found.score.array[found.brain_mask]), allow_pickle=False)
        scores.append(np.load(path, mmap_mode="r", allow_pickle=False))
    return scores, failures


def fit_healthy(
    scores: Sequence[np.ndarray], failures: Failures, maps: Path, threshold: HealthyThreshold
) -> float:
    """The threshold of `healthy_scores`.

    Raises:
        InputError: there are none; the first of `failures` says why.
    """
    if not scores:
        reason = failures[0][1] if failures else "the cohort has no healthy scan in split 'val'"
        raise InputError(f"{maps}: no healthy validation map could be read: {reason}")
    return threshold.fit(scores, ordered=True)


def fit_labelled(
    cohort: Cohort, sequence: str, maps: Path, postprocess: Postprocess, space: str, spool: Path
) -> tuple[float | None, Failures]:
    """The best mean Dice on labelled validation subjects, as pDDPM and its successors choose it.

    None when there is no such subject, the usual case.
    """
    sick: list[voxel.SortedScores] = []
    people: list[str] = []
    failures: Failures = []
    scans = cohort.select("val", sequence, healthy=False, allow_empty=True)
    for index, scan in enumerate(scans):
        path = spool / f"labelled{index}.npy"
        try:
            found, _ = score_subject(scan, maps, postprocess, {}, space, path)
        except InputError as error:
            failures.append((scan.subject, str(error)))
            continue
        if found.scores.positives:
            sick.append(found.scores)
            people.append(scan.who)
    if not sick:
        return None, failures
    # That is the lowest positive score; a mask is what lies above its threshold.
    count = Counter(people)
    weights = [1 / count[person] for person in people]
    return voxel.just_below(voxel.best_shared_threshold(sick, weights)), failures

"""Thresholds fitted on validation subjects (docs/explanation/protocol.md#2-thresholds)."""

import math
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from brainuad.cohorts.manifest import Cohort, Scan
from brainuad.errors import InputError
from brainuad.evaluation.score_maps import ScoreMaps
from brainuad.evaluation.scoring import NAN, score_subject
from brainuad.machine.failures import Failures
from brainuad.machine.refused import writing
from brainuad.metrics import voxel
from brainuad.postprocess.mebin import MebinThreshold
from brainuad.postprocess.pipeline import Postprocess
from brainuad.postprocess.threshold import Shared, Threshold, scan_threshold

SPACES = ("native", "prepared")
"""Grids that scores can be computed on."""


@dataclass(frozen=True)
class Fitted:
    """Thresholds fitted on healthy validation subjects; NaN where their scores determine none.

    Attributes:
        healthy: threshold of the scores, the headline.
        scan: threshold on each scan's own scale, and the quantile that is 1 on it.
        mebin: lowest and highest threshold that MEBin tries.
    """

    healthy: float = NAN
    scan: tuple[float, float] = (NAN, NAN)
    mebin: tuple[float, float] = (NAN, NAN)

    def as_card(self, fixed: float | None = None) -> dict[str, Any]:
        """Return the finite thresholds beside the headline, as plain values for the card.

        Args:
            fixed: the method's own threshold; None for none.
        """
        known: dict[str, list[float]] = {
            "scan": list(self.scan),
            "mebin": list(self.mebin),
            "fixed": [] if fixed is None else [fixed],
        }
        return {
            name: values if len(values) > 1 else values[0]
            for name, values in known.items()
            if values and np.isfinite(values).all()
        }

    def variants(self, postprocess: Postprocess) -> dict[str, Threshold]:
        """Return the threshold of each variant, the headline first."""
        return {
            "healthy": Shared(self.healthy),
            "scan": scan_threshold(postprocess.scan, *self.scan),
            "mebin": MebinThreshold(postprocess.mebin, *self.mebin),
        }


def fit_thresholds(cohort: Cohort, sequence: str, maps: ScoreMaps) -> tuple[Fitted, Failures]:
    """Fit on maps of healthy val subjects (docs/explanation/protocol.md#2-thresholds).

    Returns:
        The thresholds, and the subjects whose map could not be read, with the reason.

    Raises:
        InputError: no healthy validation subject, or no map could be read.
    """
    cohort.select("val", sequence, healthy=True)
    with tempfile.TemporaryDirectory(prefix="brainuad-") as spool:
        scores, failures = healthy_scores(cohort, sequence, maps, Path(spool))
        return fit_healthy(scores, failures, maps), failures


def healthy_scores(
    cohort: Cohort, sequence: str, maps: ScoreMaps, spool: Path
) -> tuple[list[np.ndarray], Failures]:
    """Return the sorted scores of each healthy validation subject, large arrays on disk."""
    scores: list[np.ndarray] = []
    failures = Failures()
    for index, scan in enumerate(cohort.select("val", sequence, healthy=True, allow_empty=True)):
        path = spool / f"val{index}.npy"
        with failures.catching(scan.subject):
            found = maps.of(scan)
            ordered = np.sort(found.score.array[found.brain_mask])
            with writing(path):
                scores.append(voxel.spooled(ordered, path))
    return scores, failures


def fit_healthy(scores: Sequence[np.ndarray], failures: Failures, maps: ScoreMaps) -> Fitted:
    """Return the thresholds of `healthy_scores`.

    Each is NaN where (nearly) all scores equal the lowest one, as those of a perfect
    reconstruction do. That score would be the threshold, and rounding would decide which voxels
    are above it.

    Raises:
        InputError: there are no scores; the message has the first reason in `failures`.
    """
    if not scores:
        reason = failures[0][1] if failures else "the cohort has no healthy scan in split 'val'"
        raise InputError(f"{maps.maps.path}: no healthy validation map could be read: {reason}")
    postprocess = maps.postprocess
    threshold = postprocess.threshold
    if not threshold.is_told(scores, ordered=True):
        return Fitted()
    scan = (NAN, NAN)
    if (scale := postprocess.scan.fitting(scores, ordered=True)) is not None:
        scales = [scale(score, ordered=True) for score in scores]
        scan = (threshold.fit(scores, ordered=True, scales=scales), scale.upper[0])
    return Fitted(
        healthy=threshold.fit(scores, ordered=True),
        scan=scan,
        mebin=postprocess.mebin.fit(scores, ordered=True),
    )


def fit_labelled(
    cohort: Cohort, sequence: str, maps: ScoreMaps, spool: Path
) -> tuple[float | None, Failures]:
    """Return the threshold with the best mean Dice on labelled validation subjects, as in pDDPM.

    None where there is no such subject, the usual case.
    """
    sick: list[voxel.SortedScores] = []
    people: list[str] = []
    failures = Failures()
    scans = cohort.select("val", sequence, healthy=False, allow_empty=True)
    for index, scan in enumerate(scans):
        path = spool / f"labelled{index}.npy"
        with failures.catching(scan.subject):
            found, _ = score_subject(scan, maps, {}, path)
            if found.scores.positives:
                sick.append(found.scores)
                people.append(scan.who)
    if not sick:
        return None, failures
    # The best threshold is the lowest positive score; a mask holds the voxels above its threshold.
    count = Counter(people)
    weights = [1 / count[person] for person in people]
    return voxel.just_below(voxel.best_shared_threshold(sick, weights)), failures


def require_space(space: Any) -> None:
    """Refuse an unknown space of scores.

    Raises:
        InputError: neither `native` nor `prepared`.
    """
    if space not in SPACES:
        raise InputError(f"space is {space!r}; use {' or '.join(SPACES)}")


def require_unseen(cohort: Cohort, test: Iterable[Scan], trained_on: Collection[str]) -> None:
    """Refuse to score people that the model was trained on.

    Raises:
        InputError: there are any.
    """
    if seen := sorted({scan.who for scan in test} & set(trained_on)):
        raise InputError(
            f"{cohort.root}: test subjects {', '.join(seen)} were trained on; take them out of test"
        )


def as_threshold(value: Any, key: str) -> float | None:
    """Return a threshold of scores; None where none is set.

    Args:
        value: value of a configuration or a command line.
        key: name of the setting, for the message.

    Raises:
        InputError: not a finite number, 0 or more.
    """
    if value is None:
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise InputError(f"{key} is {value!r}; use a number, 0 or more, or null")
    return number

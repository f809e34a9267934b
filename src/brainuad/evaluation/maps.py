"""Score folders of maps against a cohort (docs/explanation/protocol.md#2-thresholds).

A map is post-processed on its prepared grid, resampled to the space of the scores, thresholded
there and compared with the untouched label. One volume is in memory at a time. Of each subject the
scores of lesion voxels stay in memory, and the others lie on disk.
"""

import tempfile
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainuad.cohorts.manifest import Cohort, Scan
from brainuad.cohorts.map_folder import MapFolder
from brainuad.cohorts.names import POOLED
from brainuad.errors import InputError
from brainuad.evaluation import trust_checks
from brainuad.evaluation.results import COLUMNS, PERSON, Evaluation, summarise_scores
from brainuad.evaluation.score_maps import ScoreMaps
from brainuad.evaluation.scoring import (
    NAN,
    Row,
    ScoredSubject,
    Traces,
    add_oracle,
    pool,
    score_subject,
)
from brainuad.evaluation.thresholds import (
    Fitted,
    fit_healthy,
    fit_labelled,
    healthy_scores,
    require_space,
    require_unseen,
)
from brainuad.machine.failures import Failures
from brainuad.metrics import voxel
from brainuad.metrics.severity import spearman
from brainuad.metrics.statistics import by_person
from brainuad.postprocess.pipeline import Postprocess
from brainuad.postprocess.threshold import HealthyThreshold, Shared, Threshold

CONTROL = "intensity"
"""The control without learning, which the trust checks compare every method with."""

ALPHAS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Shares at which the calibration of the healthy threshold is measured."""

_RECALL = np.linspace(0.01, 1, 100)


@dataclass
class _Method:
    """One folder of maps with its thresholds and the subjects scored so far."""

    maps: ScoreMaps
    headline: float
    thresholds: dict[str, Threshold]
    healthy: list[np.ndarray]
    subjects: list[ScoredSubject] = field(default_factory=list)
    false_positives: trust_checks.FalsePositives = field(
        default_factory=trust_checks.FalsePositives
    )


def evaluate_maps(
    cohort: Cohort,
    sequence: str,
    maps: Mapping[str, Path],
    postprocess: Postprocess,
    *,
    space: str = "native",
    trained_on: Collection[str] = (),
    thresholds: Mapping[str, float] | None = None,
    fixed: Mapping[str, float] | None = None,
    carried: Mapping[str, ScoreMaps] | None = None,
    seed: int = 0,
) -> Evaluation:
    """Score the test subjects of one sequence.

    Args:
        cohort: cohort with healthy `val` subjects (for the threshold) and `test` subjects.
        sequence: `T1w`, `T2w`, `FLAIR`, …, or the name of several (`T1w+FLAIR`).
        maps: method to folder of `<subject>_anomaly.nii.gz` on the prepared grid; the first is
            the method to score, the others are controls.
        postprocess: post-processing of every method.
        space: `native` (each label's own grid) or `prepared`.
        trained_on: subjects that must not be scored.
        thresholds: healthy thresholds that are already known, by method.
        fixed: a method's own thresholds, by method, for the variant `fixed`.
        carried: post-processed maps of an earlier step, by method.
        seed: random seed of the bootstrap.

    Raises:
        InputError: a test subject was trained on, no test subject, or no map could be scored.
    """
    require_space(space)
    test = cohort.select("test", sequence)
    require_unseen(cohort, test, trained_on)
    failures = Failures()
    methods: dict[str, _Method] = {}
    with tempfile.TemporaryDirectory(prefix="brainuad-") as spool:
        for number, (name, folder) in enumerate(maps.items()):
            known, own = ((given or {}).get(name) for given in (thresholds, fixed))
            made = ScoreMaps(MapFolder(folder), postprocess, space)
            made = (carried or {}).get(name, made)
            part = Path(spool) / f"m{number}"
            # A control that fails loses only its own rows.
            with failures.catching(f"({name})") if number else nullcontext():
                methods[name], bad = _fit(cohort, sequence, made, known, own, part)
                failures += bad
        for index, scan in enumerate(test):
            failures += _score_scan(scan, methods, Path(spool) / f"{index}")
        first = next(iter(methods))
        if not methods[first].subjects:
            raise InputError(f"{maps[first]}: no map could be scored: {failures[-1][1]}")
        common = {"cohort": cohort.name, "sequence": sequence, "space": space}
        rows: list[dict[str, Any]] = []
        curves: dict[str, np.ndarray] = {}
        for name, method in methods.items():
            if method.subjects:
                found, drawn = _finish(method)
                rows += [common | {"method": name} | row for row in found]
                curves |= {f"{name}/{key}": values for key, values in drawn.items()}
    columns = [*COLUMNS, PERSON] if any(scan.person for scan in test) else list(COLUMNS)
    scores = pd.DataFrame(rows, columns=columns)
    brains = methods[first].false_positives.subjects
    return Evaluation(
        scores=scores,
        summary=summarise_scores(scores, seed),
        thresholds={name: method.headline for name, method in methods.items()},
        curves=curves,
        lesions=_lesions(methods),
        false_positives={
            name: method.false_positives.mean()
            for name, method in methods.items()
            if method.false_positives.subjects
        },
        # Methods that share a bad scan or mask report it once.
        failures=Failures(dict.fromkeys(failures)),
        context={**common, "split_hash": cohort.split_hash(), "whole_brains": brains}
        | {"alpha": postprocess.threshold.alpha},
    )


def _fit(
    cohort: Cohort,
    sequence: str,
    maps: ScoreMaps,
    threshold: float | None,
    own: float | None,
    spool: Path,
) -> tuple[_Method, Failures]:
    """Return a method with its thresholds: its own, and those of validation subjects."""
    spool.mkdir()
    healthy, failures = healthy_scores(cohort, sequence, maps, spool)
    fitted = Fitted()
    if healthy or threshold is None:
        fitted = fit_healthy(healthy, failures, maps)
    if threshold is not None:
        fitted = replace(fitted, healthy=threshold)
    chosen = fitted.variants(maps.postprocess)
    if own is not None:
        chosen["fixed"] = Shared(own)
    labelled, bad = fit_labelled(cohort, sequence, maps, spool)
    if labelled is not None:
        chosen["labelled_val"] = Shared(labelled)
    failures += bad
    return _Method(maps, fitted.healthy, chosen, healthy), failures


def _score_scan(scan: Scan, methods: dict[str, _Method], spool: Path) -> Failures:
    """Score every method's map of one scan, and compare it with the intensity control."""
    failures = Failures()
    found: dict[str, tuple[ScoredSubject, Traces]] = {}
    for number, (name, method) in enumerate(methods.items()):
        path = spool.with_name(f"{spool.name}-{number}.npy")
        with failures.catching(scan.subject):
            found[name] = score_subject(scan, method.maps, method.thresholds, path)
    control = found.get(CONTROL)
    for name, (subject, traces) in found.items():
        methods[name].subjects.append(subject)
        if traces.false_positives is not None:
            methods[name].false_positives.add(traces.false_positives)
        if control and name != CONTROL:
            # Near 1 the method measures brightness; NaN when either map is constant.
            rho = spearman(traces.sample, control[1].sample)
            subject.rows.append(Row("none", NAN, "intensity_rho", rho))
            if not scan.healthy:
                gain = _value(subject, "auprc") - _value(control[0], "auprc")
                subject.rows.append(Row("none", NAN, "ap_gain", gain))
    return failures


def _value(subject: ScoredSubject, metric: str) -> float:
    return next(row.value for row in subject.rows if row.metric == metric)


def _finish(method: _Method) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Return rows and curves that need all subjects of a method."""
    add_oracle(method.subjects)
    rows: list[dict[str, Any]] = []
    for subject in method.subjects:
        about = {
            "subject": subject.scan.subject,
            "pathology": subject.group,
            "contrast": subject.contrast,
            PERSON: subject.scan.who,
        }
        rows += [about | row._asdict() for row in subject.rows]
    pooled, curve = pool(method.subjects)
    rows += [{"subject": POOLED} | row._asdict() for row in pooled]
    curves: dict[str, np.ndarray] = {}
    if len(curve.threshold):
        precision, recall = voxel.precision_recall(curve)
        # The curve has one point per lesion voxel; 1,000 suffice to draw it.
        kept = np.unique(np.searchsorted(recall, np.linspace(0, 1, 1000)))
        curves["precision"], curves["recall"] = precision[kept], recall[kept]
        curves["pr_threshold"] = curve.threshold[kept]
    sick = [s for s in method.subjects if len(s.scores.lesion)]
    if sick:
        people = [s.scan.who for s in sick]
        curves["subjects"] = np.array(list(dict.fromkeys(people)))
        precision = np.array([_precision(s) for s in sick], np.float32)
        curves["subject_precision"] = by_person(precision.T, people).T.astype(np.float32)
    healthy = [s for s in method.subjects if s.scan.healthy]
    if healthy and method.healthy and not np.isnan(method.headline):
        # The scores on disk are sorted, so a binary search gives a share.
        fitted = [HealthyThreshold(a).fit(method.healthy, ordered=True) for a in ALPHAS]
        curves["calibration_alpha"] = np.array(ALPHAS)
        curves["calibration_fpr"] = np.array(
            [_share_above(s.scores.healthy, np.array(fitted, np.float32)) for s in healthy]
        )
    return rows, curves


def _precision(subject: ScoredSubject) -> np.ndarray:
    """Return a subject's precision where its recall first reaches each of `_RECALL`."""
    precision, recall = voxel.precision_recall(voxel.curve([subject.scores]))
    return precision[np.searchsorted(recall, _RECALL - 1e-9)]


def _share_above(ordered: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    return 1 - np.searchsorted(ordered, thresholds, side="right") / len(ordered)


def _lesions(methods: dict[str, _Method]) -> pd.DataFrame:
    rows = [
        {"subject": s.scan.subject, "method": name, "pathology": s.group, **lesion}
        for name, method in methods.items()
        for s in method.subjects
        for lesion in s.lesions
    ]
    names = ["subject", "method", "pathology", "lesion", "volume_ml", "contrast"]
    table = pd.DataFrame(rows, columns=[*names, "covered", "found"])
    return table.astype({"lesion": int, "found": bool})

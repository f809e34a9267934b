"""Scores folders of anomaly maps against a cohort (PROTOCOL sections 2 to 4); imports no model.

Files in, files out: a map is post-processed on its prepared grid, carried to the space of the
scores, thresholded there and compared with the untouched label.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainuad.data.manifest import Cohort
from brainuad.errors import InputError
from brainuad.files import atomic_path, write_json, write_text
from brainuad.metrics import voxel
from brainuad.metrics.statistics import summarise
from brainuad.postprocess.pipeline import Postprocess
from brainuad.scoring import (
    NO_LESION,
    ScoredSubject,
    add_oracle,
    pool,
    score_subject,
    score_volume,
)

COLUMNS = (
    "subject",
    "cohort",
    "sequence",
    "method",
    "pathology",
    "contrast",
    "space",
    "threshold",
    "threshold_value",
    "metric",
    "value",
)
POOLED = "(pooled)"
"""Stands for the subject where a value belongs to all of them."""

ISO_CONTRAST = 0.5
"""Lesions within so many standard deviations of the brain are called iso-intense."""


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate_maps` found.

    Attributes:
        scores: tidy, a row a subject, threshold and metric; `COLUMNS`.
        summary: mean, spread and interval of each group of subjects.
        thresholds: the healthy threshold of each method.
        curves: `<method>/precision`, `/recall`, `/pr_threshold`, pooled over the test subjects.
        failures: (subject, one-line reason), each once.
        context: cohort, sequence, space and split hash.
    """

    scores: pd.DataFrame
    summary: list[dict[str, Any]]
    thresholds: dict[str, float]
    curves: dict[str, np.ndarray]
    failures: list[tuple[str, str]]
    context: dict[str, str]


def evaluate_maps(
    cohort: Cohort,
    sequence: str,
    maps: Mapping[str, Path],
    postprocess: Postprocess,
    *,
    space: str = "native",
    trained_on: Collection[str] = (),
    thresholds: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Evaluation:
    """Scores the test subjects of one sequence.

    Args:
        cohort: with healthy `val` subjects (for the threshold) and `test` subjects.
        sequence: `T1w`, `T2w`, `FLAIR`, ….
        maps: method to folder of `<subject>_anomaly.nii.gz` on the prepared grid.
        postprocess: the same chain for every method.
        space: `native` (each label's own grid) or `prepared`.
        trained_on: subjects that must not be scored.
        thresholds: healthy thresholds that are already known, by method.
        seed: of the bootstrap.

    Raises:
        InputError: a test subject was trained on, no test subject, or no map could be scored.
    """
    if space not in ("native", "prepared"):
        raise InputError(f"space is '{space}'; use native or prepared")
    test = cohort.select("test", sequence)
    seen = sorted({scan.subject for scan in test} & set(trained_on))
    if seen:
        raise InputError(
            f"{cohort.root}: test subjects {', '.join(seen)} were trained on; take them out of test"
        )
    fitted: dict[str, float] = {}
    rows: list[dict[str, Any]] = []
    curves: dict[str, np.ndarray] = {}
    failures: list[tuple[str, str]] = []
    for number, (method, folder) in enumerate(maps.items()):
        known = (thresholds or {}).get(method)
        try:
            fitted[method], subjects, bad = _score_method(
                cohort, sequence, folder, postprocess, space, known
            )
        except InputError as error:
            # A control that fails takes only its own rows away.
            if number == 0:
                raise
            failures.append((f"({method})", str(error)))
            continue
        failures += bad
        add_oracle(subjects)
        common = {"cohort": cohort.name, "sequence": sequence, "method": method, "space": space}
        for subject in subjects:
            about = {
                "subject": subject.scan.subject,
                "pathology": subject.group,
                "contrast": subject.scan.contrast,
            }
            rows += [common | about | row._asdict() for row in subject.rows]
        pooled, curve = pool(subjects)
        rows += [common | {"subject": POOLED} | row._asdict() for row in pooled]
        curves |= {f"{method}/{name}": values for name, values in curve.items()}
    scores = pd.DataFrame(rows, columns=list(COLUMNS))
    context = {
        "cohort": cohort.name,
        "sequence": sequence,
        "space": space,
        "split_hash": cohort.split_hash(),
    }
    # Methods that share a bad scan or mask report it once.
    failures = list(dict.fromkeys(failures))
    return Evaluation(scores, summarise_scores(scores, seed), fitted, curves, failures, context)


def _score_method(
    cohort: Cohort,
    sequence: str,
    maps: Path,
    postprocess: Postprocess,
    space: str,
    threshold: float | None,
) -> tuple[float, list[ScoredSubject], list[tuple[str, str]]]:
    """The healthy threshold, the scored test subjects and the failures of one method."""
    failures: list[tuple[str, str]] = []
    if threshold is None:
        threshold, failures = fit_healthy_threshold(
            cohort, sequence, maps, postprocess, space=space
        )
    labelled, bad = fit_labelled_threshold(cohort, sequence, maps, postprocess, space=space)
    failures += bad
    chosen = {"healthy": threshold} | ({} if labelled is None else {"labelled_val": labelled})
    subjects = []
    for scan in cohort.select("test", sequence):
        try:
            subjects.append(score_subject(scan, maps, postprocess, chosen, space))
        except InputError as error:
            failures.append((scan.subject, str(error)))
    if not subjects:
        raise InputError(f"{maps}: no map could be scored: {failures[-1][1]}")
    return threshold, subjects, failures


def fit_healthy_threshold(
    cohort: Cohort, sequence: str, maps: Path, postprocess: Postprocess, *, space: str = "native"
) -> tuple[float, list[tuple[str, str]]]:
    """The healthy threshold of the maps of the healthy validation subjects (PROTOCOL section 2).

    Returns:
        The threshold, and the subjects whose map could not be read, with the reason.

    Raises:
        InputError: no healthy validation subject, or not one map could be read.
    """
    scores, failures = [], []
    for scan in cohort.select("val", sequence, healthy=True):
        try:
            score, brain_mask = score_volume(scan, maps, postprocess, space)
            scores.append(score.array[brain_mask])
        except InputError as error:
            failures.append((scan.subject, str(error)))
    if not scores:
        raise InputError(f"{maps}: no healthy validation map could be read: {failures[0][1]}")
    return postprocess.threshold.fit(scores), failures


def fit_labelled_threshold(
    cohort: Cohort, sequence: str, maps: Path, postprocess: Postprocess, *, space: str = "native"
) -> tuple[float | None, list[tuple[str, str]]]:
    """The best mean Dice on labelled validation subjects, as pDDPM and its successors choose it.

    Returns:
        The threshold, None when there is no such subject (the usual case), and the subjects
        whose map could not be read, with the reason.
    """
    curves, failures = [], []
    for scan in cohort.select("val", sequence, healthy=False, allow_empty=True):
        try:
            found = score_subject(scan, maps, postprocess, {}, space)
        except InputError as error:
            failures.append((scan.subject, str(error)))
            continue
        if found.counts.positives:
            curves.append(found.counts)
    if not curves:
        return None, failures
    # That is the lowest positive score; a mask is what lies above its threshold.
    return voxel.just_below(voxel.best_shared_threshold(curves)), failures


def summarise_scores(scores: pd.DataFrame, seed: int = 0) -> list[dict[str, Any]]:
    """Means over the groups of subjects: all lesions, each pathology, each contrast, healthy."""
    summary = []
    subjects = scores[scores.subject != POOLED]
    sick = subjects[subjects.pathology.fillna("") != ""]
    lesions = sick[sick.pathology != NO_LESION]
    contrast = lesions.contrast.astype(float)
    groups = {
        "all": lesions,
        **{str(name): sick[sick.pathology == name] for name in sorted(sick.pathology.unique())},
        "bright": lesions[contrast >= ISO_CONTRAST],
        "iso": lesions[contrast.abs() < ISO_CONTRAST],
        "dark": lesions[contrast <= -ISO_CONTRAST],
        "healthy": subjects[subjects.pathology.fillna("") == ""],
        "pooled": scores[scores.subject == POOLED],
    }
    for group, rows in groups.items():
        for (method, threshold, metric), part in rows.groupby(
            ["method", "threshold", "metric"], sort=False
        ):
            found = summarise(part.value.to_numpy(float), seed)._asdict()
            summary.append(
                {
                    "method": method,
                    "group": group,
                    "threshold": threshold,
                    "metric": metric,
                    **found,
                }
            )
    return summary


def write_evaluation(evaluation: Evaluation, out: Path, provenance: dict[str, Any]) -> None:
    """Writes `scores.csv`, `curves.npz` and `summary.json` into `out`, each atomically."""
    write_text(out / "scores.csv", evaluation.scores.to_csv(index=False, lineterminator="\n"))
    with atomic_path(out / "curves.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **evaluation.curves)
    write_json(
        out / "summary.json",
        {
            **evaluation.context,
            "thresholds": evaluation.thresholds,
            "results": evaluation.summary,
            "failures": evaluation.failures,
            "provenance": provenance,
        },
    )

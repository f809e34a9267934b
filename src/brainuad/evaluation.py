"""Scores folders of anomaly maps against a cohort (PROTOCOL sections 2 to 4); imports no model.

Files in, files out: a map is post-processed on its prepared grid, carried to the space of the
scores, thresholded there and compared with the untouched label.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainuad.data.manifest import Cohort, Scan
from brainuad.data.nifti import read_mask, read_volume
from brainuad.errors import InputError
from brainuad.files import atomic_path, write_json, write_text
from brainuad.metrics import voxel
from brainuad.metrics.statistics import summarise
from brainuad.postprocess.pipeline import Postprocess
from brainuad.postprocess.threshold import otsu
from brainuad.preparation.native import to_native
from brainuad.types import Volume

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

NO_LESION = "no lesion"
"""The group of pathological subjects whose label is empty."""

ISO_CONTRAST = 0.5
"""Lesions within so many standard deviations of the brain are called iso-intense."""


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate_maps` found.

    Attributes:
        scores: tidy, a row a subject, threshold and metric; `COLUMNS`.
        summary: mean, spread and interval of each group of subjects.
        thresholds: the healthy threshold of each method.
        curves: `<method>/precision`, `/recall`, `/pr_threshold`, pooled over test lesions.
        failures: (subject, one-line reason), each once.
        context: cohort, sequence, space and split hash.
    """

    scores: pd.DataFrame
    summary: list[dict[str, Any]]
    thresholds: dict[str, float]
    curves: dict[str, np.ndarray]
    failures: list[tuple[str, str]]
    context: dict[str, str]


@dataclass
class _Subject:
    """One scored test subject: its curve, group and the rows found so far."""

    scan: Scan
    counts: voxel.Curve
    anomaly_score: float
    group: str
    rows: list[tuple[str, float, str, float]] = field(default_factory=list)


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
    failures: dict[str, str] = {}
    for method, folder in maps.items():
        if method in (thresholds or {}):
            fitted[method] = (thresholds or {})[method]
        else:
            fitted[method], bad = fit_healthy_threshold(
                cohort, sequence, folder, postprocess, space=space
            )
            failures = dict(bad) | failures
        subjects = []
        for scan in test:
            try:
                subjects.append(_score_subject(scan, folder, postprocess, fitted[method], space))
            except InputError as error:
                failures.setdefault(scan.subject, str(error))
        if not subjects:
            raise InputError(f"{folder}: no map could be scored: {next(iter(failures.values()))}")
        _add_oracle(subjects)
        common = {"cohort": cohort.name, "sequence": sequence, "method": method, "space": space}
        for subject in subjects:
            about = {
                "subject": subject.scan.subject,
                "pathology": subject.group,
                "contrast": subject.scan.contrast,
            }
            rows += [common | about | _row(*row) for row in subject.rows]
        pooled, curve = _pooled(subjects)
        rows += [common | {"subject": POOLED} | _row(*row) for row in pooled]
        curves |= {f"{method}/{name}": values for name, values in curve.items()}
    scores = pd.DataFrame(rows, columns=list(COLUMNS))
    context = {
        "cohort": cohort.name,
        "sequence": sequence,
        "space": space,
        "split_hash": cohort.split_hash(),
    }
    return Evaluation(
        scores, summarise_scores(scores, seed), fitted, curves, list(failures.items()), context
    )


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
            score, brain_mask = _score_volume(scan, maps, postprocess, space)
            scores.append(score.array[brain_mask])
        except InputError as error:
            failures.append((scan.subject, str(error)))
    if not scores:
        raise InputError(f"{maps}: no healthy validation map could be read: {failures[0][1]}")
    return postprocess.threshold.fit(scores), failures


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


def _score_volume(
    scan: Scan, maps: Path, postprocess: Postprocess, space: str
) -> tuple[Volume, np.ndarray]:
    """The post-processed map and the brain mask, both in `space`."""
    path = maps / f"{scan.subject}_anomaly.nii.gz"
    raw = read_volume(path)
    if raw.array.min() < 0:
        raise InputError(f"{path}: has negative scores; larger must mean more abnormal, from 0 up")
    brain_mask = read_mask(scan.brain_mask, like=raw)
    score = postprocess.score(raw.array, brain_mask, raw.spacing_mm)
    if space == "prepared" or scan.native_image is None:
        return Volume(score, raw.affine), brain_mask
    native = read_volume(scan.native_image)
    score = to_native(score, raw.affine, native, scan.transform)
    inside = to_native(brain_mask, raw.affine, native, scan.transform, order=0) > 0.5
    return Volume(np.where(inside, score, 0), native.affine), inside


def _score_subject(
    scan: Scan, maps: Path, postprocess: Postprocess, threshold: float, space: str
) -> _Subject:
    score, brain_mask = _score_volume(scan, maps, postprocess, space)
    path = scan.lesion_mask
    if space == "native" and scan.native_image is not None:
        path = scan.native_lesion_mask
    if not scan.healthy and path is None:
        raise InputError(f"{scan.image}: pathological without a lesion mask; add it to score it")
    truth = np.zeros_like(brain_mask) if path is None else read_mask(path, like=score)
    inside, labels = score.array[brain_mask], truth[brain_mask]
    missed = int(truth.sum()) - int(labels.sum())
    top = np.partition(inside, -max(len(inside) // 100, 1))[-max(len(inside) // 100, 1) :]
    # An empty label gets a row of its own and stays out of the lesion mean.
    group = "" if scan.healthy else (scan.pathology or "lesion") if truth.any() else NO_LESION
    subject = _Subject(scan, voxel.curve(inside, labels, missed), float(top.mean()), group)
    none = float("nan")
    subject.rows.append(("none", none, "anomaly_score", subject.anomaly_score))
    for name, value in (("healthy", threshold), ("otsu", otsu(inside))):
        mask = postprocess.segment(score.array, brain_mask, score.spacing_mm, value)
        subject.rows.append((name, value, "dice", voxel.dice(mask, truth)))
        if scan.healthy:
            share = float(mask[brain_mask].mean())
            subject.rows.append((name, value, "fpr_healthy", share))
    if not scan.healthy:
        counts = subject.counts
        subject.rows.append(("none", none, "auprc", voxel.curve_average_precision(counts)))
        subject.rows.append(("none", none, "auroc", voxel.curve_auroc(counts)))
        best, where = voxel.curve_best_dice(counts)
        subject.rows.append(("oracle_subject", where, "dice", best))
        millilitres = float(truth.sum() * np.prod(score.spacing_mm) / 1000)
        subject.rows.append(("none", none, "lesion_ml", millilitres))
    return subject


def _add_oracle(subjects: list[_Subject]) -> None:
    """The threshold with the best mean Dice over the lesions, and each subject's Dice there."""
    sick = [s for s in subjects if s.counts.positives]
    if not sick:
        return
    threshold = voxel.best_shared_threshold([s.counts for s in sick])
    for subject in sick:
        value = float(voxel.dice_at(subject.counts, np.array([threshold]))[0])
        subject.rows.append(("oracle", threshold, "dice", value))


def _pooled(
    subjects: list[_Subject],
) -> tuple[list[tuple[str, float, str, float]], dict[str, np.ndarray]]:
    """Values over all test voxels and over subjects, and the pooled precision-recall curve."""
    rows: list[tuple[str, float, str, float]] = []
    none = float("nan")
    sick = [s for s in subjects if not s.scan.healthy]
    healthy = [s for s in subjects if s.scan.healthy]
    scalar = np.array([s.anomaly_score for s in [*sick, *healthy]])
    is_sick = np.arange(len(scalar)) < len(sick)
    rows.append(("none", none, "subject_auroc", voxel.auroc(scalar, is_sick)))
    rows.append(("none", none, "subject_ap", voxel.average_precision(scalar, is_sick)))
    if not sick:
        return rows, {}
    merged = voxel.merge([s.counts for s in sick])
    rows.append(("none", none, "auprc_pooled", voxel.curve_average_precision(merged)))
    rows.append(("none", none, "auroc_pooled", voxel.curve_auroc(merged)))
    precision, recall = voxel.precision_recall(merged)
    # A thousand points of recall draw the curve; it has millions.
    kept = np.unique(np.searchsorted(recall, np.linspace(0, recall[-1], 1000)))
    return rows, {
        "precision": precision[kept],
        "recall": recall[kept],
        "pr_threshold": merged.threshold[kept],
    }


def _row(threshold: str, threshold_value: float, metric: str, value: float) -> dict[str, Any]:
    return {
        "threshold": threshold,
        "threshold_value": threshold_value,
        "metric": metric,
        "value": value,
    }

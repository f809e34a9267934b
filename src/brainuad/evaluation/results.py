"""Results of an evaluation: tidy scores, means over groups of subjects, and their files."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainuad.cohorts.names import POOLED
from brainuad.evaluation import trust_checks
from brainuad.evaluation.scoring import NO_LESION
from brainuad.machine.failures import Failures
from brainuad.machine.files import atomic_path, write_json, write_text
from brainuad.machine.text import csv_text
from brainuad.metrics.statistics import by_person, summarise
from brainuad.records.run import RunRecord
from brainuad.records.summary import Result
from brainuad.volumes.nifti import write_volume

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
PERSON = "person"
"""Further column, where people have several scans."""

ISO_CONTRAST = 0.5
"""Largest contrast of iso-intense lesions, in standard deviations of the brain."""


@dataclass(frozen=True)
class Evaluation:
    """Results of `evaluate_maps`.

    Attributes:
        scores: one row per subject, threshold and metric; `COLUMNS`, and `PERSON` where people
            have several scans.
        summary: mean, spread and interval of each group of subjects.
        thresholds: the healthy threshold of each method.
        curves: `<method>/precision`, `/recall`, `/pr_threshold`, pooled over the test subjects;
            `/subjects`, people with a lesion, and `/subject_precision (S, 100)` at recall 0.01 to
            1;
            `/calibration_alpha (A,)` and `/calibration_fpr (H, A)`, the share of each healthy
            test subject above the threshold fitted for that alpha.
        lesions: one row per true lesion and method, at the healthy threshold.
        false_positives: method to its mean map on the template's grid.
        failures: (subject, one-line reason), each once.
        context: cohort, sequence, space, split hash, and the number of brains in
            `false_positives`.
        flatter: effect of each rule of a slice protocol
            (`brainuad.evaluation.flatter.FLATTER_COLUMNS`); None otherwise.
    """

    scores: pd.DataFrame
    summary: list[Result]
    thresholds: dict[str, float]
    curves: dict[str, np.ndarray]
    lesions: pd.DataFrame
    false_positives: dict[str, np.ndarray]
    failures: Failures
    context: dict[str, Any]
    flatter: pd.DataFrame | None = None


def summarise_scores(scores: pd.DataFrame, seed: int = 0) -> list[Result]:
    """Return means over groups: all lesions, each pathology, each contrast, healthy subjects.

    Several scans of a person count once, by their mean.
    """
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
            values = part.value.to_numpy(float)
            if PERSON in part and group != "pooled":
                values = by_person(values, part[PERSON].tolist())
            found = summarise(values, seed)._asdict()
            summary.append(Result(str(method), group, str(threshold), str(metric), **found))
    return summary


def write_evaluation(evaluation: Evaluation, out: Path, record: RunRecord) -> None:
    """Write `scores.csv`, `lesions.csv`, `curves.npz` and `summary.json`, each atomically.

    Also `false_positives/<method>.nii.gz`, the share of the brains with a false positive at each
    voxel of the MNI152 template, and for a slice protocol `flatter.csv`.
    """
    write_text(out / "scores.csv", csv_text(evaluation.scores))
    write_text(out / "lesions.csv", csv_text(evaluation.lesions))
    if evaluation.flatter is not None:
        write_text(out / "flatter.csv", csv_text(evaluation.flatter))
    for method, share in evaluation.false_positives.items():
        path = out / "false_positives" / f"{method}.nii.gz"
        write_volume(path, share, trust_checks.load_atlas().affine)
    with atomic_path(out / "curves.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **evaluation.curves)
    write_json(
        out / "summary.json",
        {
            **evaluation.context,
            "thresholds": evaluation.thresholds,
            "results": [asdict(result) for result in evaluation.summary],
            "failures": evaluation.failures,
            "provenance": record.to_json(),
        },
    )

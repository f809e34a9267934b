"""Registry of the metrics (docs/explanation/protocol.md#3-metrics), one record each."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from brainuad.metrics import voxel
from brainuad.metrics.lesion import LesionScores, label_lesions, lesion_scores, sorted_overlap
from brainuad.metrics.severity import anomaly_score, concordance, spearman
from brainuad.metrics.surface import surface_distances

UP, DOWN, NEITHER = 1, -1, 0


@dataclass(frozen=True)
class MapCase:
    """Input of the metrics of a subject's map.

    Attributes:
        score: `(D, H, W)` float32.
        truth: `(D, H, W)` bool.
        brain_mask: `(D, H, W)` bool.
    """

    score: np.ndarray
    truth: np.ndarray
    brain_mask: np.ndarray

    @cached_property
    def inside(self) -> tuple[np.ndarray, np.ndarray]:
        """Scores and truths of the brain's voxels, `(N,)`."""
        return self.score[self.brain_mask], self.truth[self.brain_mask]

    @cached_property
    def sorted(self) -> voxel.SortedScores:
        """The brain's scores, sorted once."""
        score, truth = self.inside
        missed = int(np.count_nonzero(self.truth)) - int(np.count_nonzero(truth))
        return voxel.sort_scores(score, truth, missed)

    @cached_property
    def curve(self) -> voxel.Curve:
        """The curve of this subject alone."""
        return voxel.curve([self.sorted])

    @cached_property
    def overlap(self) -> float:
        """PRO."""
        score, truth = self.inside
        regions = label_lesions(self.truth)[self.brain_mask][truth]
        return sorted_overlap(score[truth], regions, self.sorted.healthy)


@dataclass(frozen=True)
class MaskCase:
    """Input of the metrics of a subject's segmentation.

    Attributes:
        segmentation: `(D, H, W)` bool.
        truth: `(D, H, W)` bool.
        brain_mask: `(D, H, W)` bool.
        spacing_mm: edge lengths of a voxel in mm.
    """

    segmentation: np.ndarray
    truth: np.ndarray
    brain_mask: np.ndarray
    spacing_mm: tuple[float, float, float]

    @cached_property
    def lesions(self) -> LesionScores:
        """Matched components."""
        return lesion_scores(self.segmentation, self.truth, self.spacing_mm)

    @cached_property
    def distances(self) -> tuple[float, float]:
        """HD95 and ASSD in mm."""
        return surface_distances(self.segmentation, self.truth, self.spacing_mm)


@dataclass(frozen=True)
class CohortCase:
    """Input of the metrics of a whole test set, arrays `(N,)` with one value per subject.

    Attributes:
        score: subject scores.
        is_sick: whether the subject is pathological.
        burden: lesion volume in ml.
        curve: over the voxels of all subjects.
    """

    score: np.ndarray
    is_sick: np.ndarray
    burden: np.ndarray
    curve: voxel.Curve


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: name in `scores.csv`.
        title: name in tables.
        direction: `UP` when larger is better, `DOWN` when smaller is, `NEITHER` for a description.
        unit: `mm`, `ml`; empty for a share or a count.
        needs: `map`, `mask` or `cohort`: the case that `function` takes.
        subjects: `lesion`, `healthy` or `all`: subjects that have it.
        function: maps the case to the value; NaN where undefined.
    """

    name: str
    title: str
    direction: int
    unit: str
    needs: str
    subjects: str
    function: Callable[[Any], float]


METRICS = (
    Metric("anomaly_score", "anomaly score", NEITHER, "", "map", "all",
           lambda case: anomaly_score(case.inside[0])),
    Metric("auprc", "AP", UP, "", "map", "lesion",
           lambda case: voxel.curve_average_precision(case.curve)),
    Metric("auroc", "AUROC", UP, "", "map", "lesion", lambda case: voxel.curve_auroc(case.curve)),
    Metric("pro", "PRO", UP, "", "map", "lesion", lambda case: case.overlap),
    Metric("dice", "Dice", UP, "", "mask", "all",
           lambda case: voxel.dice(case.segmentation, case.truth)),
    Metric("fp_per_volume", "false findings a scan", DOWN, "", "mask", "all",
           lambda case: case.lesions.fp_per_volume),
    Metric("fpr_healthy", "healthy FPR", DOWN, "", "mask", "healthy",
           lambda case: float(case.segmentation[case.brain_mask].mean())),
    Metric("lesion_sensitivity", "lesions found", UP, "", "mask", "lesion",
           lambda case: case.lesions.lesion_sensitivity),
    Metric("lesion_precision", "findings true", UP, "", "mask", "lesion",
           lambda case: case.lesions.lesion_precision),
    Metric("lesion_f1", "lesion F1", UP, "", "mask", "lesion", lambda case: case.lesions.lesion_f1),
    Metric("hd95_mm", "HD95, mm", DOWN, "mm", "mask", "lesion", lambda case: case.distances[0]),
    Metric("assd_mm", "ASSD, mm", DOWN, "mm", "mask", "lesion", lambda case: case.distances[1]),
    Metric("subject_auroc", "subject AUROC", UP, "", "cohort", "all",
           lambda case: voxel.auroc(case.score, case.is_sick)),
    Metric("subject_ap", "subject AP", UP, "", "cohort", "all",
           lambda case: voxel.average_precision(case.score, case.is_sick)),
    Metric("severity_rho", "severity ρ", UP, "", "cohort", "all",
           lambda case: spearman(case.score, case.burden)),
    Metric("severity_c_index", "severity C-index", UP, "", "cohort", "all",
           lambda case: concordance(case.score, case.burden)),
    Metric("auprc_pooled", "pooled AP", UP, "", "cohort", "lesion",
           lambda case: voxel.curve_average_precision(case.curve)),
    Metric("auroc_pooled", "pooled AUROC", UP, "", "cohort", "lesion",
           lambda case: voxel.curve_auroc(case.curve)),
)  # fmt: skip
"""All metrics, in the order of a subject's rows."""


BY_NAME = {metric.name: metric for metric in METRICS}


def compute(needs: str, case: MapCase | MaskCase | CohortCase, kind: str) -> dict[str, float]:
    """Return the metrics of one case.

    Args:
        needs: `map`, `mask` or `cohort`.
        case: case of the kind that `needs` names.
        kind: `lesion` or `healthy`, the kind of the subject (or of any in the cohort).
    """
    return {name: BY_NAME[name].function(case) for name in names(needs, kind)}


def names(needs: str, kind: str) -> list[str]:
    """Return the names of the metrics of a case; arguments as in `compute`."""
    return [m.name for m in METRICS if m.needs == needs and m.subjects in ("all", kind)]

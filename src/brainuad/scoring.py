"""Scores one subject: its map post-processed, carried to a space and compared with its label."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from skimage.metrics import structural_similarity

from brainuad.data.manifest import Scan
from brainuad.data.nifti import read_mask, read_volume, require_same_grid
from brainuad.errors import InputError
from brainuad.metrics import voxel
from brainuad.metrics.lesion import label_lesions, lesion_scores, per_region_overlap
from brainuad.metrics.severity import concordance, spearman
from brainuad.metrics.surface import surface_distances
from brainuad.postprocess.pipeline import Postprocess
from brainuad.postprocess.threshold import otsu
from brainuad.preparation.native import to_native
from brainuad.types import Volume

NO_LESION = "no lesion"
"""The group of pathological subjects whose label is empty."""

NAN = float("nan")


class Row(NamedTuple):
    """One score.

    Attributes:
        threshold: name of the threshold variant, `none` where there is none.
        threshold_value: a voxel is positive above it; NaN where there is none.
        metric: name, PROTOCOL section 3.
        value: NaN where undefined.
    """

    threshold: str
    threshold_value: float
    metric: str
    value: float


@dataclass
class ScoredSubject:
    """A test subject after `score_subject`.

    Attributes:
        scan: what was scored.
        counts: the curve of its brain voxels.
        anomaly_score: mean of the top 1 % of the brain's voxels.
        lesion_ml: volume of the label.
        group: pathology, `NO_LESION`, or empty when healthy.
        rows: its scores.
    """

    scan: Scan
    counts: voxel.Curve
    anomaly_score: float
    lesion_ml: float
    group: str
    rows: list[Row] = field(default_factory=list)


def score_volume(
    scan: Scan, maps: Path, postprocess: Postprocess, space: str
) -> tuple[Volume, np.ndarray]:
    """The post-processed map and the brain mask `(D, H, W)` bool, both in `space`.

    Raises:
        InputError: a missing or damaged file, another grid, a negative score, or no brain.
    """
    path = maps / f"{scan.subject}_anomaly.nii.gz"
    raw = read_volume(path)
    if raw.array.min() < 0:
        raise InputError(f"{path}: has negative scores; larger must mean more abnormal, from 0 up")
    brain = read_volume(scan.brain_mask)
    require_same_grid(path, raw, like=brain)
    brain_mask = brain.array > 0
    if not brain_mask.any():
        raise InputError(f"{scan.brain_mask}: the brain mask is empty; make it again")
    score = postprocess.score(raw.array, brain_mask, raw.spacing_mm)
    if space == "prepared" or scan.native_image is None:
        return Volume(score, raw.affine), brain_mask
    native = read_volume(scan.native_image)
    score = to_native(score, raw.affine, native, scan.transform)
    inside = to_native(brain_mask, raw.affine, native, scan.transform, order=0) > 0.5
    if not inside.any():
        raise InputError(
            f"{scan.native_image}: the prepared brain lies outside it; mend the transform or affine"
        )
    return Volume(np.where(inside, score, 0), native.affine), inside


def score_subject(
    scan: Scan, maps: Path, postprocess: Postprocess, thresholds: dict[str, float], space: str
) -> ScoredSubject:
    """Every score of one subject that needs no other subject.

    Args:
        scan: a test scan.
        maps: folder of its map.
        postprocess: the run's chain.
        thresholds: fitted ones, by variant; `otsu` is added.
        space: `native` or `prepared`.

    Raises:
        InputError: as `score_volume`, or a lesion without a label.
    """
    score, brain_mask = score_volume(scan, maps, postprocess, space)
    path = scan.lesion_mask
    if space == "native" and scan.native_image is not None:
        path = scan.native_lesion_mask
    if not scan.healthy and path is None:
        raise InputError(f"{scan.image}: pathological without a lesion mask; add it to score it")
    truth = np.zeros_like(brain_mask) if path is None else read_mask(path, like=score)
    inside, labels = score.array[brain_mask], truth[brain_mask]
    counts = voxel.curve(inside, labels, missed=int(truth.sum()) - int(labels.sum()))
    hottest = max(len(inside) // 100, 1)
    subject = ScoredSubject(
        scan=scan,
        counts=counts,
        anomaly_score=float(np.partition(inside, -hottest)[-hottest:].mean()),
        lesion_ml=float(truth.sum() * np.prod(score.spacing_mm) / 1000),
        # An empty label gets a row of its own and stays out of the lesion mean.
        group="" if scan.healthy else (scan.pathology or "lesion") if truth.any() else NO_LESION,
    )
    rows = subject.rows
    rows.append(Row("none", NAN, "anomaly_score", subject.anomaly_score))
    for name, value in (thresholds | {"otsu": otsu(inside)}).items():
        mask = postprocess.segment(score.array, brain_mask, score.spacing_mm, value)
        rows += [Row(name, value, *pair) for pair in _mask_scores(mask, truth, score, scan.healthy)]
        if scan.healthy:
            rows.append(Row(name, value, "fpr_healthy", float(mask[brain_mask].mean())))
    if scan.healthy:
        rows += [Row("none", NAN, *pair) for pair in _reconstruction_scores(scan, maps)]
        return subject
    best, where = voxel.curve_best_dice(counts)
    regions = label_lesions(truth)[brain_mask]
    rows += [
        Row("none", NAN, "auprc", voxel.curve_average_precision(counts)),
        Row("none", NAN, "auroc", voxel.curve_auroc(counts)),
        Row("none", NAN, "pro", per_region_overlap(inside, regions)),
        Row("none", NAN, "lesion_ml", subject.lesion_ml),
        Row("oracle_subject", voxel.just_below(where), "dice", best),
    ]
    return subject


def add_oracle(subjects: list[ScoredSubject]) -> None:
    """The threshold with the best mean Dice over the lesions, and each subject's Dice there."""
    sick = [s for s in subjects if s.counts.positives]
    if not sick:
        return
    threshold = voxel.best_shared_threshold([s.counts for s in sick])
    for subject in sick:
        value = float(voxel.dice_at(subject.counts, np.array([threshold]))[0])
        subject.rows.append(Row("oracle", voxel.just_below(threshold), "dice", value))


def pool(subjects: list[ScoredSubject]) -> tuple[list[Row], dict[str, np.ndarray]]:
    """Values over all test voxels and over subjects, and the pooled precision-recall curve."""
    score = np.array([s.anomaly_score for s in subjects])
    is_sick = np.array([not s.scan.healthy for s in subjects])
    burden = np.array([s.lesion_ml for s in subjects])
    rows = [
        Row("none", NAN, "subject_auroc", voxel.auroc(score, is_sick)),
        Row("none", NAN, "subject_ap", voxel.average_precision(score, is_sick)),
        Row("none", NAN, "severity_rho", spearman(score, burden)),
        Row("none", NAN, "severity_c_index", concordance(score, burden)),
    ]
    if not is_sick.any():
        return rows, {}
    # Healthy scans too: over all test subjects (PROTOCOL section 3).
    merged = voxel.merge([s.counts for s in subjects])
    rows.append(Row("none", NAN, "auprc_pooled", voxel.curve_average_precision(merged)))
    rows.append(Row("none", NAN, "auroc_pooled", voxel.curve_auroc(merged)))
    precision, recall = voxel.precision_recall(merged)
    # A thousand points of recall draw the curve; it has millions.
    kept = np.unique(np.searchsorted(recall, np.linspace(0, recall[-1], 1000)))
    return rows, {
        "precision": precision[kept],
        "recall": recall[kept],
        "pr_threshold": merged.threshold[kept],
    }


def _mask_scores(
    mask: np.ndarray, truth: np.ndarray, score: Volume, healthy: bool
) -> list[tuple[str, float]]:
    lesions = lesion_scores(mask, truth, score.spacing_mm)
    found = [("dice", voxel.dice(mask, truth)), ("fp_per_volume", lesions.fp_per_volume)]
    if healthy:
        return found
    hd95, assd = surface_distances(mask, truth, score.spacing_mm)
    return [
        *found,
        ("lesion_sensitivity", lesions.lesion_sensitivity),
        ("lesion_precision", lesions.lesion_precision),
        ("lesion_f1", lesions.lesion_f1),
        ("hd95_mm", hd95),
        ("assd_mm", assd),
    ]


def _reconstruction_scores(scan: Scan, maps: Path) -> list[tuple[str, float]]:
    """L1 and SSIM inside the brain on the prepared grid, where a reconstruction was kept."""
    path = maps / f"{scan.subject}_reconstruction.nii.gz"
    if not path.is_file():
        return []
    image, reconstruction = read_volume(scan.image).array, read_volume(path).array
    brain_mask = read_mask(scan.brain_mask)
    _, similarity = structural_similarity(image, reconstruction, data_range=1.0, full=True)
    return [
        ("recon_l1", float(np.abs(image - reconstruction)[brain_mask].mean())),
        ("recon_ssim", float(similarity[brain_mask].mean())),
    ]

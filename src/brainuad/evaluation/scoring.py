"""Scores of one subject: its post-processed map compared with its label."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from skimage.metrics import structural_similarity

from brainuad.cohorts.manifest import Scan
from brainuad.cohorts.map_folder import MapFolder
from brainuad.errors import InputError
from brainuad.evaluation import trust_checks
from brainuad.evaluation.score_maps import ScoreMaps
from brainuad.machine.refused import writing
from brainuad.metrics import voxel
from brainuad.metrics.registry import CohortCase, MapCase, MaskCase, compute, names
from brainuad.postprocess.threshold import Threshold
from brainuad.volumes.nifti import read_label, read_mask, read_volume
from brainuad.volumes.read import read_native

NO_LESION = "no lesion"
"""Group of the pathological subjects whose label is empty."""

NAN = float("nan")


class Row(NamedTuple):
    """One score.

    Attributes:
        threshold: name of the threshold variant, `none` where there is none.
        threshold_value: a voxel is positive above it; NaN where there is none.
        metric: name, `brainuad.metrics.registry` or `brainuad.evaluation.trust_checks`.
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
        scan: the scan.
        scores: sorted scores of its brain, the large part on disk.
        anomaly_score: mean of the top 1 % of the brain's voxels.
        lesion_ml: volume of the label.
        contrast: contrast of the lesion, from the manifest, else to the rest of the brain; None
            without a lesion.
        group: pathology, `NO_LESION`, or empty when healthy.
        rows: its scores.
        lesions: one row per true lesion at the headline threshold, see
            `trust_checks.lesion_rows`.
    """

    scan: Scan
    scores: voxel.SortedScores
    anomaly_score: float
    lesion_ml: float
    contrast: float | None
    group: str
    rows: list[Row] = field(default_factory=list)
    lesions: list[dict[str, float]] = field(default_factory=list)


class Traces(NamedTuple):
    """Values of a subject for the trust checks.

    Attributes:
        sample: scores of some voxels of its brain, the same voxels for every method.
        false_positives: `(D, H, W)` bool on the template's grid; None for less than a whole brain.
    """

    sample: np.ndarray
    false_positives: np.ndarray | None


def score_subject(
    scan: Scan,
    maps: ScoreMaps,
    thresholds: Mapping[str, Threshold],
    spool: Path,
) -> tuple[ScoredSubject, Traces]:
    """Return every score of one subject that needs no other subject.

    Args:
        scan: a test scan.
        maps: post-processed maps.
        thresholds: thresholds by variant, the headline first; `otsu` is added. The scores of a NaN
            threshold are NaN.
        spool: file for arrays that are too large for the memory.

    Raises:
        InputError: an error of `ScoreMaps.of`, a lesion without a label, or an invalid label.
        CannotWrite: no room for the file.
    """
    found = maps.of(scan)
    score, brain_mask, postprocess = found.score, found.brain_mask, maps.postprocess
    native = maps.space == "native" and scan.native_image is not None
    path = scan.native_lesion_mask if native else scan.lesion_mask
    if not scan.healthy and path is None:
        raise InputError(f"{scan.image}: pathological without a lesion mask; add it to score it")
    truth = np.zeros_like(brain_mask) if path is None else read_label(path, like=score)
    kind = "healthy" if scan.healthy else "lesion"
    case = MapCase(score.array, truth, brain_mask)
    values = compute("map", case, kind)
    lesion_ml = float(np.count_nonzero(truth) * np.prod(score.spacing_mm) / 1000)
    with writing(spool):
        ordered = case.sorted.on_disk(spool)
    subject = ScoredSubject(
        scan=scan,
        scores=ordered,
        anomaly_score=values["anomaly_score"],
        lesion_ml=lesion_ml,
        contrast=scan.contrast,
        # Subjects with an empty label have a row of their own and do not enter the lesion mean.
        group="" if scan.healthy else (scan.pathology or "lesion") if truth.any() else NO_LESION,
    )
    rows = subject.rows
    rows += [Row("none", NAN, name, value) for name, value in values.items()]
    variants: dict[str, Threshold] = {**thresholds, "otsu": postprocess.otsu}
    false_positives = headline = None
    for index, (name, threshold) in enumerate(variants.items()):
        limit = threshold(score.array, brain_mask, score.spacing_mm)
        if np.isnan(limit):
            rows += [Row(name, NAN, metric, NAN) for metric in names("mask", kind)]
            continue
        mask = postprocess.segment(score.array, brain_mask, score.spacing_mm, limit)
        case_of_mask = MaskCase(mask, truth, brain_mask, score.spacing_mm)
        rows += [Row(name, limit, *pair) for pair in compute("mask", case_of_mask, kind).items()]
        if index == 0:
            headline = mask
            false_positives = trust_checks.on_atlas(mask & ~truth, found.box, found.to_voxel)
            if false_positives is not None:
                rates = trust_checks.region_rates(false_positives)
                rows += [Row(name, limit, *pair) for pair in rates.items()]
    if scan.healthy:
        pairs = _reconstruction_scores(scan, maps.maps)
        rows += [Row("none", NAN, *pair) for pair in pairs]
    else:
        best, where = voxel.curve_best_dice(case.curve)
        rows.append(Row("none", NAN, "lesion_ml", lesion_ml))
        rows.append(Row("oracle_subject", voxel.just_below(where), "dice", best))
    if truth.any():
        native_image = scan.native_image if native else None
        image = (read_native(native_image) if native_image else read_volume(scan.image)).array
        about = (truth, image, brain_mask, score.spacing_mm)
        if headline is not None:
            subject.lesions = trust_checks.lesion_rows(headline, *about)
        if scan.contrast is None:
            subject.contrast = trust_checks.contrast(image, truth, brain_mask & ~truth)
    return subject, Traces(trust_checks.thin(case.inside[0]), false_positives)


def add_oracle(subjects: list[ScoredSubject]) -> None:
    """Add each subject's Dice at the threshold with the best mean Dice over subjects with lesions.

    The scans of one person have the weight of one scan together, as in the summary.
    """
    sick = [s for s in subjects if s.scores.positives]
    if not sick:
        return
    count = Counter(s.scan.who for s in sick)
    weights = [1 / count[s.scan.who] for s in sick]
    threshold = voxel.best_shared_threshold([s.scores for s in sick], weights)
    for subject in sick:
        value = float(voxel.dice_at(subject.scores, np.array([threshold]))[0])
        subject.rows.append(Row("oracle", voxel.just_below(threshold), "dice", value))


def pool(subjects: list[ScoredSubject]) -> tuple[list[Row], voxel.Curve]:
    """Return values over all test voxels and over subjects, and the pooled curve.

    Healthy scans are included (docs/explanation/protocol.md#3-metrics).
    """
    is_sick = np.array([not s.scan.healthy for s in subjects])
    case = CohortCase(
        score=np.array([s.anomaly_score for s in subjects]),
        is_sick=is_sick,
        burden=np.array([s.lesion_ml for s in subjects]),
        curve=voxel.curve([s.scores for s in subjects]),
    )
    values = compute("cohort", case, "lesion" if is_sick.any() else "healthy")
    return [Row("none", NAN, *pair) for pair in values.items()], case.curve


def _reconstruction_scores(scan: Scan, maps: MapFolder) -> list[tuple[str, float]]:
    """Return L1 and SSIM inside the brain on the prepared grid, where there is a reconstruction."""
    found = maps.read(scan.subject, "reconstruction")
    if found is None:
        return []
    # The method's input may be a tissue map.
    seen = maps.read(scan.subject, "input") or read_volume(scan.image)
    image, reconstruction = seen.array, found.array
    brain_mask = read_mask(scan.brain_mask)
    # A cubic window does not fit into one plane.
    pair = (np.squeeze(image), np.squeeze(reconstruction))
    similarity = structural_similarity(*pair, data_range=1.0, full=True)[1].reshape(image.shape)
    return [
        ("recon_l1", float(np.abs(image - reconstruction)[brain_mask].mean())),
        ("recon_ssim", float(similarity[brain_mask].mean())),
    ]

"""Scores one subject: its map post-processed, carried to a space and compared with its label."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from nibabel.affines import apply_affine
from skimage.metrics import structural_similarity

from brainuad.cohorts.manifest import Scan
from brainuad.cohorts.map_folder import MapFolder
from brainuad.errors import InputError
from brainuad.evaluation import trust_checks
from brainuad.machine.refused import writing
from brainuad.metrics import voxel
from brainuad.metrics.registry import CohortCase, MapCase, MaskCase, compute, names
from brainuad.postprocess.native import native_map
from brainuad.postprocess.pipeline import Postprocess
from brainuad.postprocess.threshold import Threshold
from brainuad.types import Volume
from brainuad.volumes.grids import require_same_grid
from brainuad.volumes.native_space import native_points
from brainuad.volumes.nifti import read_label, read_mask, read_volume
from brainuad.volumes.read import read_native

NO_LESION = "no lesion"
"""The group of pathological subjects whose label is empty."""

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


class ScoreVolume(NamedTuple):
    """A post-processed map in the space of the scores.

    Attributes:
        score: the map that thresholds apply to; zero outside the brain unless the chain masks last.
        brain_mask: `(D, H, W)` bool, on its grid.
        box: `(2, 3)` corners of the prepared brain in prepared world, mm.
        to_voxel: points `(N, 3)` of the prepared world, mm, to voxels of `score`.
    """

    score: Volume
    brain_mask: np.ndarray
    box: np.ndarray
    to_voxel: Callable[[np.ndarray], np.ndarray]


@dataclass
class ScoredSubject:
    """A test subject after `score_subject`.

    Attributes:
        scan: what was scored.
        scores: its brain's scores, sorted, the large part on disk.
        anomaly_score: mean of the top 1 % of the brain's voxels.
        lesion_ml: volume of the label.
        contrast: contrast of the lesion, from the manifest, else against the rest of the brain;
            None without a lesion.
        group: pathology, `NO_LESION`, or empty when healthy.
        rows: its scores.
        lesions: a row a true lesion at the headline threshold, see `trust_checks.lesion_rows`.
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
    """Data of a subject that the trust checks need for a short time.

    Attributes:
        sample: some of its brain's scores, the same voxels for every method.
        false_positives: on the template's grid, None for less than a whole brain.
    """

    sample: np.ndarray
    false_positives: np.ndarray | None


def score_volume(
    scan: Scan, maps: Path, postprocess: Postprocess, space: str, masked: bool = True
) -> ScoreVolume:
    """The post-processed map and the brain mask, both in `space`.

    Args:
        scan: whose map.
        maps: folder of its map.
        postprocess: the run's chain.
        space: `native` or `prepared`.
        masked: whether the chain clears what is not brain; without, a step may carry scores into
            the brain and out of it, and those of the background stay.

    Raises:
        InputError: a missing or damaged file, two files of one subject, another grid, a negative
            score, or no brain.
    """
    raw, path = MapFolder(maps).map(scan.subject), MapFolder(maps).file(scan.subject)
    if raw.array.min() < 0 and not postprocess.takes_signed_maps:
        raise InputError(
            f"{path}: has negative scores; larger must mean more abnormal, from 0 up (or begin "
            "the post-processing with brainuad.postprocess.scale.Sign)"
        )
    brain = read_volume(scan.brain_mask)
    require_same_grid(path, raw, like=brain)
    brain_mask = brain.array > 0
    if not brain_mask.any():
        raise InputError(f"{scan.brain_mask}: the brain mask is empty; make it again")
    inside = brain_mask if masked else np.ones_like(brain_mask)
    score = postprocess.score(raw.array, inside, raw.spacing_mm)
    box = trust_checks.world_box(brain_mask, raw.affine)
    if space == "prepared" or scan.native_image is None:
        to_prepared_voxel = partial(apply_affine, np.linalg.inv(raw.affine))
        return ScoreVolume(Volume(score, raw.affine), brain_mask, box, to_prepared_voxel)
    found = native_map(
        Volume(score, raw.affine), brain_mask, scan.space, masks_last=postprocess.masks_last
    )

    def to_voxel(points: np.ndarray) -> np.ndarray:
        there = native_points(points, scan.space.way)
        return apply_affine(np.linalg.inv(found.score.affine), there)

    return ScoreVolume(found.score, found.brain_mask, box, to_voxel)


def score_subject(
    scan: Scan,
    maps: Path,
    postprocess: Postprocess,
    thresholds: Mapping[str, Threshold],
    space: str,
    spool: Path,
) -> tuple[ScoredSubject, Traces]:
    """Every score of one subject that needs no other subject.

    Args:
        scan: a test scan.
        maps: folder of its map.
        postprocess: the run's chain.
        thresholds: by variant, the headline first; `otsu` is added. Where one is NaN, so are its
            scores.
        space: `native` or `prepared`.
        spool: a file for what is too large to keep.

    Raises:
        InputError: as `score_volume`, a lesion without a label, or one that is no label.
        CannotWrite: no room for the file.
    """
    score, brain_mask, box, to_voxel = score_volume(scan, maps, postprocess, space)
    native = space == "native" and scan.native_image is not None
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
        # An empty label gets a row of its own and stays out of the lesion mean.
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
        found = compute("mask", MaskCase(mask, truth, brain_mask, score.spacing_mm), kind)
        rows += [Row(name, limit, *pair) for pair in found.items()]
        if index == 0:
            headline = mask
            false_positives = trust_checks.on_atlas(mask & ~truth, box, to_voxel)
            if false_positives is not None:
                rates = trust_checks.region_rates(false_positives)
                rows += [Row(name, limit, *pair) for pair in rates.items()]
    if scan.healthy:
        pairs = _reconstruction_scores(scan, MapFolder(maps))
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
    """The threshold with the best mean Dice over the lesions, and each subject's Dice there.

    Of a person with several scans the mean counts once, as in the summary.
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
    """Values over all test voxels and over subjects, and the pooled curve.

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
    """L1 and SSIM inside the brain on the prepared grid, where a reconstruction was kept."""
    found = maps.read(scan.subject, "reconstruction")
    if found is None:
        return []
    # Beside what the method saw, which may be tissue in place of intensity.
    seen = maps.read(scan.subject, "input") or read_volume(scan.image)
    image, reconstruction = seen.array, found.array
    brain_mask = read_mask(scan.brain_mask)
    # One plane is compared as an image: a cubic window does not fit into it.
    pair = (np.squeeze(image), np.squeeze(reconstruction))
    similarity = structural_similarity(*pair, data_range=1.0, full=True)[1].reshape(image.shape)
    return [
        ("recon_l1", float(np.abs(image - reconstruction)[brain_mask].mean())),
        ("recon_ssim", float(similarity[brain_mask].mean())),
    ]

"""Suitability of a scan for a model: its measures against those of the training cohort.

The card holds the measures of the healthy subjects of training and validation. A scan is flagged
where a measure of it lies outside the prediction interval of Student's t, which would hold `LEVEL`
of all further subjects of that cohort. Intervals of small cohorts are wide.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from nibabel.affines import apply_affine
from scipy.special import stdtrit

from brainuad.cohorts.load import load_scan
from brainuad.cohorts.manifest import Cohort
from brainuad.errors import InputError
from brainuad.evaluation.score_maps import ScoreMaps
from brainuad.metrics.severity import anomaly_score
from brainuad.preparation.records import record_of
from brainuad.records.scan import ScanRecord
from brainuad.records.statistics import TrainingStatistics
from brainuad.types import Volume
from brainuad.volumes.nifti import read_volume
from brainuad.volumes.planes import is_slice
from brainuad.volumes.template import load_template

LEVEL = 0.999
"""Level of the prediction intervals: share of suitable scans that a measure does not flag."""

PERCENTILES = tuple(range(0, 101, 2))
"""Percentiles of the prepared brain's intensities that the card holds."""

SURE = 0.8
"""Smallest share of a tissue in a voxel of the template that counts as that tissue."""

LEAST_SPREAD = 0.01
"""Smallest relative spread. A smaller one suggests that the scans are copies."""


class Measure(NamedTuple):
    """A number of a scan.

    Attributes:
        words: name of the number.
        look: place to look at when it is odd.
        low: True flags values below the interval.
        high: True flags values above the interval.
        log: True compares logarithms, so that ratios count.
    """

    words: str
    look: str
    low: bool = True
    high: bool = True
    log: bool = True


_KIND = "Check whether this is a brain in the model's sequence"
_MASK = "Check the brain mask and the registration"

MEASURES = {
    "distance": Measure(
        "distance of its histogram from the training scans'",
        "Check the sequence, the skull strip and large lesions",
        low=False,
        log=False,
    ),
    "grey_white": Measure("contrast of grey to white matter", _KIND, log=False),
    "fluid_white": Measure("contrast of ventricles to white matter", _KIND, log=False),
    "brain_ml": Measure("brain volume in ml", "Check the brain mask and the species"),
    "prepared_ml": Measure("brain volume after registration in ml", _MASK),
    "voxel_mm": Measure(
        "longest voxel edge in mm", "Check whether the scan is too coarse for the model", low=False
    ),
    "similarity": Measure(
        "similarity to the atlas", "Check the registration to the atlas", high=False, log=False
    ),
    "overlap": Measure("overlap with the atlas", _MASK, high=False, log=False),
    "noise": Measure("noise, by the median", "Check the scan for motion and noise", low=False),
}


def training_statistics(
    cohort: Cohort,
    sequence: str,
    maps: ScoreMaps,
    in_mni: bool,
) -> TrainingStatistics:
    """Return the statistics of a model's healthy training and validation scans.

    Args:
        cohort: cohort of the training.
        sequence: sequence of the model; of several channels the first is measured.
        maps: maps of the validation subjects.
        in_mni: True where its scans lie in the world of MNI152.
    """
    quantiles, measures, scores = [], [], []
    spacing = None
    for split in ("train", "val"):
        for scan in cohort.select(split, sequence, healthy=True, allow_empty=True):
            try:
                image, brain_mask = (item[0].numpy() for item in load_scan(scan))
                volume = Volume(image, read_volume(scan.image).affine)
                spacing = volume.spacing_mm
            except InputError:
                # The run's failures list it.
                continue
            quantiles.append(np.percentile(image[brain_mask], PERCENTILES))
            record = record_of(cohort, scan)
            measures.append(measures_of(volume, brain_mask, record, in_mni))
            if split == "val" and maps.maps.has(scan.subject):
                # The run's failures list an unreadable map.
                with suppress(InputError):
                    score, inside, *_ = maps.prepared(scan)
                    scores.append(anomaly_score(score.array[inside]))
    names = sorted({name for own in measures for name in own})
    found = {name: [own[name] for own in measures if name in own] for name in names}
    if len(quantiles) > 1:
        found["distance"] = _distances(np.array(quantiles))
    return TrainingStatistics(
        percentiles=list(PERCENTILES),
        quantiles=np.mean(quantiles, axis=0).tolist() if quantiles else [],
        measures=found,
        spacing_mm=max(spacing) if spacing else None,
        scores=sorted(scores),
    )


def measures_of(
    image: Volume, brain_mask: np.ndarray, record: ScanRecord | None, laid_on_mni: bool
) -> dict[str, float]:
    """Return the `MEASURES` of a prepared scan that are known, without `distance`.

    Args:
        image: `(D, H, W)`, prepared.
        brain_mask: `(D, H, W)` bool.
        record: record of its preparation; None where the cohort keeps none.
        laid_on_mni: True where the prepared world is MNI's.
    """
    found = {}
    if record is not None:
        found = {name: float(record.quality[name]) for name in MEASURES if name in record.quality}
        found["voxel_mm"] = float(max(record.native_spacing_mm))
    # The volume of a slice depends on its height in the head.
    if not is_slice(brain_mask):
        found["prepared_ml"] = float(brain_mask.sum() * np.prod(image.spacing_mm) / 1000)
    return found | (contrasts(image, brain_mask) if laid_on_mni else {})


def contrasts(image: Volume, brain_mask: np.ndarray) -> dict[str, float]:
    """Return the contrasts of grey matter and ventricles to white matter.

    Medians of voxels that the MNI152 maps assign to one tissue, in standard deviations of the
    brain. Their signs and sizes distinguish sequences. Empty where there is no such tissue.

    Args:
        image: `(D, H, W)`, prepared, in the world of MNI152.
        brain_mask: `(D, H, W)` bool.
    """
    medians = {}
    for name, points in _tissue_points().items():
        voxels = np.rint(apply_affine(np.linalg.inv(image.affine), points)).astype(int)
        voxels = voxels[((voxels >= 0) & (voxels < brain_mask.shape)).all(axis=1)]
        at = tuple(voxels.T)
        inside = image.array[at][brain_mask[at]]
        if not inside.size:
            return {}
        medians[name] = float(np.median(inside))
    spread = float(image.array[brain_mask].std())
    if spread == 0:
        return {}
    return {
        f"{name}_white": (medians[name] - medians["white"]) / spread for name in ("grey", "fluid")
    }


@lru_cache(maxsize=1)
def _tissue_points() -> dict[str, np.ndarray]:
    """Return MNI points `(N, 3)`, mm, of voxels of one tissue by at least `SURE`."""
    template = load_template(2.0)
    maps = {"white": template.white, "grey": template.grey, "fluid": template.ventricles}
    return {n: apply_affine(template.affine, np.argwhere(m > SURE)) for n, m in maps.items()}


def unsuitable(
    statistics: TrainingStatistics | None,
    image: np.ndarray,
    brain_mask: np.ndarray,
    measures: Mapping[str, float],
) -> list[str]:
    """Return reasons to doubt that the model suits a scan, `what to look at (numbers)`.

    Args:
        statistics: result of `training_statistics`; with None, of an older model, nothing is
            flagged.
        image: `(D, H, W)`, prepared.
        brain_mask: `(D, H, W)` bool.
        measures: result of `measures_of`.
    """
    if statistics is None or not statistics.quantiles:
        return []
    own = np.percentile(image[brain_mask], statistics.percentiles)
    distance = _distance(own, np.array(statistics.quantiles))
    said = []
    for name, value in {"distance": distance, **measures}.items():
        known = np.array(statistics.measures.get(name, []), dtype=float)
        measure = MEASURES[name]
        if not np.isfinite([*known, value]).all():
            # Every comparison with NaN is false, so nothing would be flagged.
            said.append(
                f"{measure.look} ({measure.words} cannot be compared: it, or a measure of the "
                "training scans, is no finite number)"
            )
            continue
        low, high = _interval(known, measure.log)
        if name == "voxel_mm":
            # A scan no coarser than the prepared grid loses nothing.
            high = max(high, statistics.spacing_mm or 0.0)
        if (measure.low and value < low) or (measure.high and value > high):
            usual = f"at least {low:.4g}" if value < low else f"at most {high:.4g}"
            said.append(f"{measure.look} ({measure.words} is {value:.4g}, expected {usual})")
    return said


def percentile_of(statistics: TrainingStatistics | None, score: float) -> float | None:
    """Return the share in % of the healthy validation subjects with a lower anomaly score.

    Ties count by half. None where the statistics hold no scores.
    """
    if statistics is None or not statistics.scores:
        return None
    scores = statistics.scores
    below, at_most = np.less(scores, score).sum(), np.less_equal(scores, score).sum()
    return float((below + at_most) * (50 / len(scores)))


def pooled(statistics: Sequence[TrainingStatistics | None]) -> TrainingStatistics | None:
    """Return the statistics of several models: measures of the first, scores of all."""
    first = statistics[0]
    if first is None:
        return None
    scores = sorted(value for one in statistics if one for value in one.scores)
    return replace(first, scores=scores)


def _distances(quantiles: np.ndarray) -> list[float]:
    """Return the distance of each subject from the mean of the others."""
    total, count = quantiles.sum(axis=0), len(quantiles)
    return [_distance(own, (total - own) / (count - 1)) for own in quantiles]


def _distance(own: np.ndarray, usual: np.ndarray) -> float:
    """Return the mean shift between two lists of quantiles (Wasserstein's distance)."""
    return float(np.abs(own - usual).mean())


def _interval(values: np.ndarray, log: bool) -> tuple[float, float]:
    """Return the prediction interval of one further value; infinite for two values or fewer."""
    count = len(values)
    if count < 3:
        return -np.inf, np.inf
    known = np.log(np.maximum(values, 1e-9)) if log else values
    least = LEAST_SPREAD if log else LEAST_SPREAD * abs(known.mean())
    spread = max(known.std(ddof=1), least)
    reach = stdtrit(count - 1, (1 + LEVEL) / 2) * spread * np.sqrt(1 + 1 / count)
    low, high = known.mean() - reach, known.mean() + reach
    return (float(np.exp(low)), float(np.exp(high))) if log else (float(low), float(high))

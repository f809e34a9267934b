"""Compare a scan with the training cohort, to flag scans that the model was not made for.

The model carries the measures of the healthy subjects it was trained and validated on. A scan is
flagged where one of its own lies outside the interval that would hold `LEVEL` of all further
subjects of that cohort, were it normally distributed: the prediction interval of Student's t. A
small cohort knows little of what is usual, and its interval is wide.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from nibabel.affines import apply_affine
from scipy.special import stdtrit

from brainuad.cohorts.load import load_scan
from brainuad.cohorts.manifest import Cohort
from brainuad.cohorts.map_folder import MapFolder
from brainuad.errors import InputError
from brainuad.metrics.severity import anomaly_score
from brainuad.postprocess.pipeline import Postprocess
from brainuad.preparation.records import record_of
from brainuad.records.scan import ScanRecord
from brainuad.types import Volume
from brainuad.volumes.nifti import read_volume
from brainuad.volumes.planes import is_slice
from brainuad.volumes.template import load_template

LEVEL = 0.999
"""Level of the prediction intervals: share of suitable scans that a measure does not flag."""

PERCENTILES = tuple(range(0, 101, 2))
"""Percentiles of the prepared brain's intensities that form the stored histogram."""

SURE = 0.8
"""Share of a tissue from which on a voxel of the template counts as that tissue."""

LEAST_SPREAD = 0.01
"""Smallest relative spread. A smaller one suggests that the scans are copies."""


class Measure(NamedTuple):
    """A number of a scan.

    Attributes:
        words: name of the number.
        look: what to look at when it is odd.
        low: whether too small a value is odd.
        high: whether too large a value is odd.
        log: whether ratios matter, not differences.
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
    maps: MapFolder,
    postprocess: Postprocess,
    recipe: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return statistics of the healthy training and validation scans, as plain values.

    Args:
        cohort: it was trained on.
        sequence: sequence of the model; of several, the first channel is measured.
        maps: raw maps of the validation subjects.
        postprocess: post-processing of the model.
        recipe: preparation of the cohort, see `brainuad.preparation.recipes`; None where it is not
            known.

    Returns:
        `percentiles` and `quantiles`: of the prepared brains' intensities, the mean over subjects;
        `measures`: name to a value a subject; `spacing_mm` of the prepared scans; `scores`: the
        anomaly scores of the healthy validation subjects, rising.
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
                # Listed with the run's failures already.
                continue
            quantiles.append(np.percentile(image[brain_mask], PERCENTILES))
            record = record_of(cohort, scan)
            measures.append(measures_of(volume, brain_mask, record, in_mni(recipe)))
            if split == "val" and maps.has(scan.subject):
                raw = maps.map(scan.subject).array
                scores.append(
                    anomaly_score(postprocess.score(raw, brain_mask, spacing)[brain_mask])
                )
    names = sorted({name for own in measures for name in own})
    found = {name: [own[name] for own in measures if name in own] for name in names}
    if len(quantiles) > 1:
        found["distance"] = _distances(np.array(quantiles))
    return {
        "percentiles": list(PERCENTILES),
        "quantiles": np.mean(quantiles, axis=0).tolist() if quantiles else [],
        "measures": found,
        "spacing_mm": max(spacing) if spacing else None,
        "scores": sorted(scores),
    }


def measures_of(
    image: Volume, brain_mask: np.ndarray, record: ScanRecord | None, laid_on_mni: bool
) -> dict[str, float]:
    """Return the `MEASURES` of a prepared scan, less `distance` and those that nobody knows.

    Args:
        image: `(D, H, W)`, prepared.
        brain_mask: on its grid, bool.
        record: record of its preparation; None where the cohort has none.
        laid_on_mni: whether the prepared world is MNI's.
    """
    found = {}
    if record is not None:
        found = {name: float(record.quality[name]) for name in MEASURES if name in record.quality}
        found["voxel_mm"] = float(max(record.native_spacing_mm))
    if not is_slice(brain_mask):  # what a slice holds tells where it was cut
        found["prepared_ml"] = float(brain_mask.sum() * np.prod(image.spacing_mm) / 1000)
    return found | (contrasts(image, brain_mask) if laid_on_mni else {})


def contrasts(image: Volume, brain_mask: np.ndarray) -> dict[str, float]:
    """Return how much brighter grey matter and ventricles are than white matter.

    Medians where the MNI152 maps are sure of the tissue, in standard deviations of the brain; a
    sequence is told by their signs and sizes. Empty where there is no such tissue.

    Args:
        image: `(D, H, W)`, prepared, in the world of MNI152.
        brain_mask: on its grid, bool.
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
    """MNI points `(N, 3)`, mm, of voxels that are surely one tissue."""
    template = load_template(2.0)
    maps = {"white": template.white, "grey": template.grey, "fluid": template.ventricles}
    return {n: apply_affine(template.affine, np.argwhere(m > SURE)) for n, m in maps.items()}


def in_mni(recipe: Mapping[str, Any] | None) -> bool:
    """Return whether a preparation registers scans to MNI152."""
    steps = (recipe or {}).get("steps", {})
    return steps.get("atlas") is not None and steps.get("atlas_image") is None


def unsuitable(
    statistics: Mapping[str, Any] | None,
    image: np.ndarray,
    brain_mask: np.ndarray,
    measures: Mapping[str, float],
) -> list[str]:
    """Return reasons to doubt that the model was made for a scan, `what to look at (numbers)`.

    Args:
        statistics: result of `training_statistics`; None, from an older model, raises nothing.
        image: `(D, H, W)`, prepared.
        brain_mask: on its grid, bool.
        measures: result of `measures_of`.
    """
    if not statistics or not statistics["quantiles"]:
        return []
    own = np.percentile(image[brain_mask], statistics["percentiles"])
    distance = _distance(own, np.array(statistics["quantiles"]))
    said = []
    for name, value in {"distance": distance, **measures}.items():
        known = np.array(statistics["measures"].get(name, []), dtype=float)
        measure = MEASURES[name]
        if not np.isfinite([*known, value]).all():
            # Every comparison with NaN is false, so nothing would be said.
            said.append(
                f"{measure.look} ({measure.words} cannot be compared: it, or a measure of the "
                "training scans, is no finite number)"
            )
            continue
        low, high = _interval(known, measure.log)
        if name == "voxel_mm":
            # What is no coarser than the prepared grid loses nothing.
            high = max(high, statistics["spacing_mm"] or 0.0)
        if (measure.low and value < low) or (measure.high and value > high):
            usual = f"at least {low:.4g}" if value < low else f"at most {high:.4g}"
            said.append(f"{measure.look} ({measure.words} is {value:.4g}, expected {usual})")
    return said


def percentile_of(statistics: Mapping[str, Any] | None, score: float) -> float | None:
    """Share in % of the healthy validation subjects with a lower anomaly score, ties by half.

    None where the model does not know their scores.
    """
    scores = (statistics or {}).get("scores", [])
    if not scores:
        return None
    below, at_most = np.less(scores, score).sum(), np.less_equal(scores, score).sum()
    return float((below + at_most) * (50 / len(scores)))


def pooled(statistics: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    """Combine the statistics of several models: the first one's measures, and all scores."""
    first = statistics[0]
    if first is None:
        return None
    scores = sorted(value for one in statistics if one for value in one["scores"])
    return {**first, "scores": scores}


def _distances(quantiles: np.ndarray) -> list[float]:
    """Return the distance of each subject from the mean of the others."""
    total, count = quantiles.sum(axis=0), len(quantiles)
    return [_distance(own, (total - own) / (count - 1)) for own in quantiles]


def _distance(own: np.ndarray, usual: np.ndarray) -> float:
    """Between two histograms, as the mean shift of their quantiles (Wasserstein's distance)."""
    return float(np.abs(own - usual).mean())


def _interval(values: np.ndarray, log: bool) -> tuple[float, float]:
    """The prediction interval of one further value; everything where two or fewer are known."""
    count = len(values)
    if count < 3:
        return -np.inf, np.inf
    known = np.log(np.maximum(values, 1e-9)) if log else values
    least = LEAST_SPREAD if log else LEAST_SPREAD * abs(known.mean())
    spread = max(known.std(ddof=1), least)
    reach = stdtrit(count - 1, (1 + LEVEL) / 2) * spread * np.sqrt(1 + 1 / count)
    low, high = known.mean() - reach, known.mean() + reach
    return (float(np.exp(low)), float(np.exp(high))) if log else (float(low), float(high))

"""Part of the report on trust: is the score high for the right reason?"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from brainuad.cohorts.names import POOLED
from brainuad.evaluation.results import ISO_CONTRAST
from brainuad.evaluation.trust_checks import REGIONS
from brainuad.metrics.statistics import Summary, by_person, paired_wilcoxon, summarise
from brainuad.reporting.drawing import plots
from brainuad.reporting.drawing.false_positives import draw_false_positives
from brainuad.reporting.drawing.panels import Picture
from brainuad.reporting.pages.render import Table
from brainuad.reporting.run_folder import CONTROL, RunFolder
from brainuad.volumes.nifti import read_volume

MOSTLY = 0.7
"""Rank correlation with brightness from which a map counts as mostly brightness."""

SIZES_ML = (0.1, 1.0, 10.0)
"""Borders between the sizes of lesions."""

_REGION_TITLES = {
    "rim": "rim of the brain (4 mm)",
    "cortex": "cortex",
    "ventricles": "ventricles",
    "deep_grey": "deep grey, insula",
    "white": "white matter",
}


@dataclass(frozen=True)
class Brightness:
    """Likeness of a method to plain intensity.

    Attributes:
        rho: mean rank correlation of the maps with the intensity baseline's.
        brains: number of brains that have one.
        gain: average precision against that baseline; None where it is not known.
        p: paired Wilcoxon test of the gain.
        wins: number of subjects with a gain.
    """

    rho: float
    brains: int
    gain: Summary | None
    p: float
    wins: int

    @property
    def is_mostly_brightness(self) -> bool:
        """Return whether the maps are mostly the intensity."""
        return self.rho >= MOSTLY

    @property
    def is_doubtful(self) -> bool:
        """Return whether the method may add nothing to the intensity."""
        return self.is_mostly_brightness or (self.gain is not None and self.gain.ci_low <= 0)


@dataclass(frozen=True)
class Healthy:
    """Healthy test subjects against the rate of false positives that was asked for.

    Attributes:
        asked: share of positive voxels that was asked for.
        subjects: number of healthy test subjects.
        over: name and share of those with more, the largest first.
    """

    asked: float
    subjects: int
    over: list[tuple[str, float]]


@dataclass(frozen=True)
class Trust:
    """Checks of a run's scores, as far as its files allow.

    Attributes:
        is_control: whether the run is the intensity baseline.
        brightness: None where the baseline was not scored beside the run.
        regions: false positives per region; None where no scan is a whole brain.
        picture: false positives on the template; None where there is no map.
        alt: the picture in words.
        lesions: found lesions by size and contrast; None where there are none.
        healthy: None without healthy test subjects.
        by_volume: SVG of Dice against lesion volume; None where it is not known.
        calibration: SVG of the calibration; None where it is not known.
    """

    is_control: bool
    brightness: Brightness | None
    regions: Table | None
    picture: Picture | None
    alt: str
    lesions: Table | None
    healthy: Healthy | None
    by_volume: str | None
    calibration: str | None


def trust(run: RunFolder) -> Trust | None:
    """Return the part; None for a run without scores."""
    if not run.scores:
        return None
    regions = _regions(run)
    picture, alt = None, ""
    if regions is not None:
        paths = {m: run.path / "false_positives" / f"{m}.nii.gz" for m in run.shown_methods}
        maps = {m: read_volume(path).array for m, path in paths.items() if path.is_file()}
        picture = draw_false_positives(maps) if maps else None
        alt = "Mean false-positive map on six axial slices of the MNI152 template. "
        alt += f"{regions.caption}: " + "; ".join(", ".join(row) for row in regions.rows)
    found = {m: run.volume_and_dice(m, run.people) for m in run.shown_methods}
    points = {method: pairs for method, pairs in found.items() if pairs}
    shares = {m: known for m in run.shown_methods if (known := run.calibration(m))}
    return Trust(
        run.method == CONTROL,
        _brightness(run),
        regions,
        picture,
        alt,
        _lesions(run),
        _healthy(run),
        plots.against_volume(points) if points else None,
        plots.calibration(shares) if shares else None,
    )


def _brightness(run: RunFolder) -> Brightness | None:
    rho, gain = (_values(run, metric) for metric in ("intensity_rho", "ap_gain"))
    if not rho.size:
        return None
    return Brightness(
        rho=summarise(rho).mean,
        brains=rho.size,
        gain=summarise(gain) if gain.size else None,
        p=paired_wilcoxon(gain, np.zeros_like(gain)),
        wins=int((gain > 0).sum()),
    )


def _regions(run: RunFolder) -> Table | None:
    """Return the rates of false positives per region."""
    rows = []
    for method in run.shown_methods:
        rates = [_values(run, f"fp_{region}", "healthy", method) for region in REGIONS]
        if rates[0].size:
            rows.append([method, *(f"{100 * rate.mean():.2f} %" for rate in rates)])
    if not rows:
        return None
    header = ["method", *(_REGION_TITLES[region] for region in REGIONS)]
    caption = (
        "False positives at the healthy threshold: share of each region, mean over test brains"
    )
    return Table(header, rows, caption)


def _lesions(run: RunFolder) -> Table | None:
    """Return the found lesions by size and contrast."""
    lesions = run.lesions(run.method)
    if not lesions:
        return None
    kinds = {
        f"dark (< −{ISO_CONTRAST} SD)": (-np.inf, -ISO_CONTRAST),
        "iso-intense": (-ISO_CONTRAST, ISO_CONTRAST),
        f"bright (> {ISO_CONTRAST} SD)": (ISO_CONTRAST, np.inf),
    }
    rows = []
    for low, high in pairwise((0.0, *SIZES_ML, np.inf)):
        name = f"under {high:g} ml" if low == 0 else f"{low:g} to {high:g} ml"
        row = [name if np.isfinite(high) else f"over {low:g} ml"]
        own = [lesion for lesion in lesions if low <= lesion.volume_ml < high]
        for start, stop in kinds.values():
            part = [lesion for lesion in own if start <= lesion.contrast < stop]
            covered = np.mean([lesion.covered for lesion in part]) if part else 0
            found = sum(lesion.found for lesion in part)
            row.append(f"{found} of {len(part)} ({covered:.0%})" if part else "–")
        rows.append(row)
    caption = (
        "Lesions found at the healthy threshold (and the mean share of them covered), by size and "
        "by contrast against the rest of the brain"
    )
    return Table(["size", *kinds], rows, caption)


def _healthy(run: RunFolder) -> Healthy | None:
    wanted = (run.method, "fpr_healthy", "healthy")
    names = [s.subject for s in run.scores if (s.method, s.metric, s.threshold) == wanted]
    rates = {name: run.value(name, run.method, "fpr_healthy", "healthy") or 0.0 for name in names}
    if not rates:
        return None
    alphas = run.arrays.get(f"{run.method}/calibration_alpha")
    asked = 0.01 if alphas is None or 0.01 in alphas else float(alphas[0])
    over = sorted((item for item in rates.items() if item[1] > asked), key=lambda item: -item[1])
    return Healthy(asked, len(rates), over)


def _values(
    run: RunFolder, metric: str, threshold: str = "none", method: str | None = None
) -> np.ndarray:
    """Return a metric of all subjects (people) of a method (the run's own), `(N,)` without NaN."""
    wanted = (method or run.method, metric, threshold)
    found = [
        score
        for score in run.scores
        if (score.method, score.metric, score.threshold) == wanted and score.subject != POOLED
    ]
    values = np.array([score.value for score in found], float)
    values = by_person(values, [score.person or score.subject for score in found])
    return values[~np.isnan(values)]

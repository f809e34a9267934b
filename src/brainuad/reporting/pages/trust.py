"""The trust checks of a report: is the score high for the right reason?"""

from itertools import pairwise
from pathlib import Path

import numpy as np

from brainuad.cohorts.names import POOLED
from brainuad.evaluation.results import ISO_CONTRAST
from brainuad.evaluation.trust_checks import REGIONS
from brainuad.metrics.statistics import by_person, paired_wilcoxon, summarise
from brainuad.reporting.drawing import plots
from brainuad.reporting.drawing.false_positives import draw_false_positives
from brainuad.reporting.pages import html
from brainuad.reporting.run_folder import CONTROL, RunFolder
from brainuad.volumes.nifti import read_volume

MOSTLY = 0.7
"""Rank correlation with brightness from which a map is said to be mostly brightness."""

SIZES_ML = (0.1, 1.0, 10.0)
_REGION_TITLES = {
    "rim": "rim of the brain (4 mm)",
    "cortex": "cortex",
    "ventricles": "ventricles",
    "deep_grey": "deep grey, insula",
    "white": "white matter",
}


def trust(run: RunFolder) -> str:
    """The section, with what the run's files allow."""
    if not run.scores:
        return ""
    parts = [_brightness(run), _where(run), _lesions(run), _healthy(run)]
    drawn = [html.plot(svg, caption) for svg, caption in _plots(run)]
    body = "".join(parts) + (str(html.grid(drawn, "plots")) if drawn else "")
    return html.section("Can the score be trusted?", body, anchor="trust") if body else ""


def _brightness(run: RunFolder) -> str:
    """Return in words how much of the score is plain intensity."""
    if run.method == CONTROL:
        return html.paragraph("This run is the intensity baseline itself.", "soft")
    rho, gain = (_values(run, metric) for metric in ("intensity_rho", "ap_gain"))
    if not rho.size:
        return html.paragraph(
            "The intensity baseline was not scored beside this run, so how much of the score is "
            "brightness is not known.",
            "note",
        )
    mean = summarise(rho).mean
    text = (
        f"The anomaly map's rank correlation with the intensity baseline's is {mean:.2f} on "
        f"average over {rho.size} brains"
    )
    text += ": it is mostly brightness. " if mean >= MOSTLY else ". "
    if gain.size:
        found = summarise(gain)
        p = paired_wilcoxon(gain, np.zeros_like(gain))
        wins = int((gain > 0).sum())
        text += (
            f"Average precision is {found.mean:+.3f} against that baseline "
            f"(95 % interval {found.ci_low:+.3f} to {found.ci_high:+.3f}, paired Wilcoxon "
            f"p = {p:.2g}), higher in {wins} of {gain.size} subjects"
        )
        if found.ci_low > 0:
            text += "."
        elif found.ci_high < 0:
            text += ": it does worse than brightness alone."
        else:
            text += ": no clear gain over brightness alone."
    bad = bool(gain.size) and summarise(gain).ci_low <= 0
    return html.paragraph(text, "note" if bad or mean >= MOSTLY else "")


def _where(run: RunFolder) -> str:
    """Return a picture and the rates of false positives by region."""
    methods = _shown(run)
    rows = []
    for method in methods:
        rates = [_values(run, f"fp_{region}", "healthy", method) for region in REGIONS]
        if rates[0].size:
            rows.append([method, *(f"{100 * rate.mean():.2f} %" for rate in rates)])
    if not rows:
        return html.paragraph(
            "Where false positives sit is not shown: no scan of this cohort is a whole brain.",
            "soft",
        )
    header = ["method", *(_REGION_TITLES[region] for region in REGIONS)]
    caption = (
        "False positives at the healthy threshold, share of each region, mean over test brains"
    )
    body = str(html.table(header, rows, caption))
    paths = {method: run.path / "false_positives" / f"{method}.nii.gz" for method in methods}
    maps = {method: _read(path) for method, path in paths.items() if path.is_file()}
    if maps:
        picture = draw_false_positives(maps)
        alt = f"Mean false-positive map on six axial slices of the MNI152 template. {caption}: "
        alt += "; ".join(", ".join(row) for row in rows)
        body += html.picture(picture.jpeg, alt, picture.width, picture.height)
        body += html.paragraph(
            "Each brain is laid on the MNI152 template by its bounding box; what follows the "
            "shape of the cortex or of a ventricle is anatomy that the method takes for disease.",
            "soft",
        )
    return body


def _lesions(run: RunFolder) -> str:
    """Found lesions by size and contrast."""
    lesions = run.lesions(run.method)
    if not lesions:
        return ""
    edges = (0.0, *SIZES_ML, np.inf)
    kinds = {
        f"dark (< −{ISO_CONTRAST} SD)": (-np.inf, -ISO_CONTRAST),
        "iso-intense": (-ISO_CONTRAST, ISO_CONTRAST),
        f"bright (> {ISO_CONTRAST} SD)": (ISO_CONTRAST, np.inf),
    }
    rows = []
    for low, high in pairwise(edges):
        name = f"under {high:g} ml" if low == 0 else f"{low:g} to {high:g} ml"
        row = [name if np.isfinite(high) else f"over {low:g} ml"]
        for start, stop in kinds.values():
            part = [
                lesion
                for lesion in lesions
                if low <= lesion["volume_ml"] < high and start <= lesion["contrast"] < stop
            ]
            covered = np.mean([lesion["covered"] for lesion in part]) if part else 0
            found = int(sum(lesion["found"] for lesion in part))
            row.append(f"{found} of {len(part)} ({covered:.0%})" if part else "–")
        rows.append(row)
    caption = (
        "Lesions found at the healthy threshold (and the mean share of them covered), by size and "
        "by contrast against the rest of the brain"
    )
    return html.table(["size", *kinds], rows, caption)


def _healthy(run: RunFolder) -> str:
    """Healthy test subjects whose share of positive voxels is over what was asked for."""
    wanted = (run.method, "fpr_healthy", "healthy")
    names = [s.subject for s in run.scores if (s.method, s.metric, s.threshold) == wanted]
    rates = sorted(
        ((run.value(name, run.method, "fpr_healthy", "healthy") or 0.0, name) for name in names),
        reverse=True,
    )
    if not rates:
        return ""
    alphas = run.arrays.get(f"{run.method}/calibration_alpha")
    asked = 0.01 if alphas is None or 0.01 in alphas else float(alphas[0])
    over = [(rate, name) for rate, name in rates if rate > asked]
    text = (
        f"{len(over)} of {len(rates)} healthy test subjects are over {asked:.0%} positive voxels "
        "at the healthy threshold, after post-processing"
    )
    text += ": " + ", ".join(f"{name} {rate:.1%}" for rate, name in over[:12]) if over else "."
    if over:
        text += f" and {len(over) - 12} more." if len(over) > 12 else "."
    return html.paragraph(text)


def _plots(run: RunFolder) -> list[tuple[str, str]]:
    methods = _shown(run)
    found = []
    points = {method: run.volume_and_dice(method, run.people) for method in methods}
    points = {method: pairs for method, pairs in points.items() if pairs}
    if points:
        caption = "Dice at the healthy threshold by lesion volume, a dot a subject; the line is a "
        found.append((plots.against_volume(points), caption + "running median."))
    shares = {method: known for method in methods if (known := run.calibration(method))}
    if shares:
        caption = (
            "Calibration of the healthy threshold: the share of healthy test brains above it, "
            "before the steps on the mask, against the share asked for on validation brains. "
            "Thin lines are single subjects; above the diagonal, new brains look sicker than "
            "those the threshold was fitted on."
        )
        found.append((plots.calibration(shares), caption))
    return found


def _shown(run: RunFolder) -> list[str]:
    """The run's own method and the control beside it."""
    return list(dict.fromkeys((run.method, CONTROL)))


def _values(
    run: RunFolder, metric: str, threshold: str = "none", method: str | None = None
) -> np.ndarray:
    """A metric of all subjects (people) of a method (the run's own), `(N,)` without NaN."""
    wanted = (method or run.method, metric, threshold)
    found = [
        score
        for score in run.scores
        if (score.method, score.metric, score.threshold) == wanted and score.subject != POOLED
    ]
    values = np.array([score.value for score in found], float)
    values = by_person(values, [score.person or score.subject for score in found])
    return values[~np.isnan(values)]


def _read(path: Path) -> np.ndarray:
    return read_volume(path).array

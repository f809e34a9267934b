"""Part of the report on single subjects: the list and the pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, zip_longest
from typing import Any

import numpy as np

from brainuad.cohorts.manifest import Scan
from brainuad.errors import InputError
from brainuad.reporting.drawing.panels import Picture
from brainuad.reporting.drawing.subject import draw_subject
from brainuad.reporting.drawing.views import (
    TITLES,
    SubjectView,
    lesion_share,
    load_view,
    shared_limit,
)
from brainuad.reporting.pages.render import Link, Table, decimals
from brainuad.reporting.run_folder import CONTROL, RunFolder

_BLACK = 0.02
"""Share of the input's white below which a reconstruction looks black."""


@dataclass(frozen=True)
class Shown:
    """A subject with its picture.

    Attributes:
        anchor: its place on the page.
        name: name of the subject.
        kind: `healthy`, or its pathology.
        numbers: title to score, of the scores that are defined.
        picture: None where a file cannot be read.
        alt: the picture in words.
        problem: reason why there is no picture.
        missing: titles of the volumes that the run lacks.
        is_black: whether the reconstruction looks black, as that of an untrained model.
    """

    anchor: str
    name: str
    kind: str
    numbers: dict[str, str]
    picture: Picture | None = None
    alt: str = ""
    problem: str = ""
    missing: list[str] = field(default_factory=list)
    is_black: bool = False


@dataclass(frozen=True)
class Subjects:
    """Test subjects of a run.

    Attributes:
        table: scores of all test subjects; None where there are none.
        shown: subjects with a picture.
        left_out: number of subjects without.
        limit: top of the anomaly scale.
        threshold: healthy threshold of the run's method.
        sides_unknown: whether the images do not tell left from right.
        no_reconstruction: whether the method makes none.
        share: lesions' share of the brain in the subjects shown.
    """

    table: Table | None
    shown: list[Shown]
    left_out: int
    limit: float
    threshold: float | None
    sides_unknown: bool
    no_reconstruction: bool
    share: float | None


def subjects(run: RunFolder, count: int) -> Subjects:
    """Return the list of test subjects and pictures of some.

    Args:
        run: the run.
        count: largest number of subjects that are shown as pictures.
    """
    cohort = run.cohort.scans if run.cohort else ()
    scans = [s for s in cohort if s.split == "test" and run.sequence in ("", s.sequence)]
    scans.sort(key=lambda scan: scan.healthy)
    views, problems = {}, {}
    for scan in choose(scans, count):
        try:
            views[scan.subject] = load_view(scan, run.path / "prepared")
        except InputError as error:
            problems[scan.subject] = str(error)
    found = list(views.values())
    limit, threshold = shared_limit(found), run.summary.thresholds.get(run.method)
    rows: list[list[Any]] = []
    shown: list[Shown] = []
    for scan in scans:
        view = views.get(scan.subject)
        numbers = _numbers(run, scan, view)
        name: str | Link = scan.subject
        if view or scan.subject in problems:
            one = Shown(
                f"subject-{len(shown)}",
                scan.subject,
                _kind(scan),
                {title: text for title, text in numbers.items() if text is not None},
                problem=problems.get(scan.subject, ""),
            )
            name = Link(scan.subject, one.anchor)
            shown.append(_drawn(one, view, limit, threshold) if view else one)
        rows.append([name, _kind(scan), *numbers.values()])
    table = None
    if scans:
        header = ["subject", "kind", *_numbers(run, scans[0], None)]
        caption = f"Test subjects of {run.sequence or 'the cohort'}"
        table = Table(header, rows, caption, (0, 1), sortable=True)
    return Subjects(
        table,
        shown,
        len(scans) - len(shown),
        limit,
        threshold,
        sides_unknown=bool(found) and not any(p.edges for view in found for p in view.planes),
        no_reconstruction=bool(found) and all("reconstruction" in v.missing for v in found),
        share=lesion_share(found),
    )


def choose(scans: Sequence[Scan], count: int) -> list[Scan]:
    """Return the subjects to show, pathological ones first.

    When there are more than `count`, each pathology and the healthy ones take turns, so that no
    kind is left out because it comes last in the manifest.
    """
    ordered = sorted(scans, key=lambda scan: scan.healthy)
    if len(ordered) > count:
        kinds: dict[tuple[bool, str], list[Scan]] = {}
        for scan in ordered:
            kinds.setdefault((scan.healthy, scan.pathology), []).append(scan)
        turns = [scan for scan in chain(*zip_longest(*kinds.values())) if scan is not None]
        kept = {scan.subject for scan in turns[:count]}
        ordered = [scan for scan in ordered if scan.subject in kept]
    return ordered


def _kind(scan: Scan) -> str:
    return "healthy" if scan.healthy else scan.pathology or "lesion"


def _numbers(run: RunFolder, scan: Scan, view: SubjectView | None) -> dict[str, str | None]:
    def score(metric: str, threshold: str, method: str = run.method) -> str | None:
        return decimals(run.value(scan.subject, method, metric, threshold))

    scored = run.value(scan.subject, run.method, "lesion_ml", "none")
    volume = view.lesion_ml if scored is None and view else scored
    beside = run.method != CONTROL and CONTROL in run.methods
    # Dice of a scan without a lesion is 0 or 1 by convention and says less than its FPR.
    return {
        "AP": score("auprc", "none"),
        "Dice": None if scan.healthy else score("dice", "healthy"),
        "⌈⌈Dice⌉⌉": None if scan.healthy else score("dice", "oracle_subject"),
        **({f"AP of {CONTROL}": score("auprc", "none", CONTROL)} if beside else {}),
        "healthy FPR": score("fpr_healthy", "healthy"),
        "anomaly score": score("anomaly_score", "none"),
        "lesion, ml": None if scan.healthy else decimals(volume, 1),
        "contrast, SD": decimals(scan.contrast, 2),
    }


def _drawn(one: Shown, view: SubjectView, limit: float, threshold: float | None) -> Shown:
    """Return the subject with its picture."""
    planes = ", ".join(
        f"{plane.name} at {plane.position}" if plane.position else plane.name
        for plane in view.planes
    )
    columns = ", ".join(title for key, title in TITLES.items() if key in view.planes[0].slices)
    alt = f"{one.name}, {one.kind}. Rows: {planes}. Columns: {columns}. "
    alt += ", ".join(f"{name} {text}" for name, text in one.numbers.items())
    slices = [plane.slices.get("reconstruction") for plane in view.planes]
    brightest = max((float(array.max()) for array in slices if array is not None), default=np.inf)
    return replace(
        one,
        picture=draw_subject(view, limit, threshold),
        alt=alt,
        missing=[TITLES[key].split(",")[0] for key in view.missing],
        is_black=brightest < _BLACK * view.window,
    )

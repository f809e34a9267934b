"""The part of the report about single subjects: the list and the pictures."""

from collections.abc import Sequence

from brainuad.cohorts.manifest import Scan
from brainuad.reporting.drawing.subject import Picture
from brainuad.reporting.drawing.views import AS_STORED, CONVENTION, TITLES, SubjectView
from brainuad.reporting.pages import html
from brainuad.reporting.pages.html import Markup
from brainuad.reporting.run_folder import CONTROL, RunFolder


def subjects_section(
    run: RunFolder,
    scans: Sequence[Scan],
    views: dict[str, SubjectView | str],
    pictures: dict[str, Picture],
    limit: float,
) -> str:
    """The list of test subjects and a picture of each.

    Args:
        run: the run.
        scans: all test scans.
        views: views of the subjects to show, in order; a text says why there is none.
        pictures: by subject.
        limit: top of the anomaly scale.
    """
    if not scans:
        body: str = html.paragraph("No test subject can be shown.", "note")
        return html.section("Subjects", body, anchor="subjects")
    anchors = {subject: f"subject-{index}" for index, subject in enumerate(views)}
    rows = []
    for scan in scans:
        view = views.get(scan.subject)
        volume = view.lesion_ml if isinstance(view, SubjectView) else None
        numbers = _numbers(run, scan, volume)
        name = html.escape(scan.subject)
        if scan.subject in anchors:
            name = Markup(f'<a href="#{anchors[scan.subject]}">{name}</a>')
        rows.append([name, _kind(scan), *numbers.values()])
    header = ["subject", "kind", *_numbers(run, scans[0], None)]
    caption = f"{len(scans)} test subjects of {run.sequence or 'the cohort'}"
    left_out = [scan.subject for scan in scans if scan.subject not in views]
    body = _about_pictures(run, views, limit)
    if left_out:
        body += html.paragraph(
            f"{len(views)} subjects are shown; {len(left_out)} are left out of the pictures, not "
            "of the scores (brainuad-report RUN --subjects N shows more).", "note"
        )  # fmt: skip
    body += '<p hidden><label for="filter">Filter</label> <input id="filter" type="search"></p>'
    body += html.table(header, rows, caption, (0, 1), sortable=True)
    by_name = {scan.subject: scan for scan in scans}
    for subject, view in views.items():
        body += _subject(run, by_name[subject], view, pictures.get(subject), anchors[subject])
    return html.section("Subjects", body, anchor="subjects")


def _kind(scan: Scan) -> str:
    return "healthy" if scan.healthy else scan.pathology or "lesion"


def _numbers(run: RunFolder, scan: Scan, lesion_ml: float | None) -> dict[str, Markup]:
    def value(metric: str, threshold: str, method: str = run.method) -> Markup:
        return html.number(run.value(scan.subject, method, metric, threshold))

    none = html.number(None)
    # Dice of a scan without a lesion is 0 or 1 by convention and says less than its FPR.
    numbers = {
        "AP": value("auprc", "none"),
        "Dice": none if scan.healthy else value("dice", "healthy"),
        "⌈⌈Dice⌉⌉": none if scan.healthy else value("dice", "oracle_subject"),
    }
    if run.method != CONTROL and CONTROL in run.methods:
        numbers[f"AP of {CONTROL}"] = value("auprc", "none", CONTROL)
    numbers["healthy FPR"] = value("fpr_healthy", "healthy")
    numbers["anomaly score"] = value("anomaly_score", "none")
    scored = run.value(scan.subject, run.method, "lesion_ml", "none")
    volume = lesion_ml if scored is None else scored
    numbers["lesion, ml"] = html.number(None if scan.healthy else volume, 1)
    numbers["contrast, SD"] = html.number(scan.contrast, 2)
    return numbers


def _subject(
    run: RunFolder, scan: Scan, view: SubjectView | str, drawn: Picture | None, anchor: str
) -> str:
    numbers = _numbers(run, scan, view.lesion_ml if isinstance(view, SubjectView) else None)
    known = {name: text for name, text in numbers.items() if 'class="none"' not in text}
    chips = "".join(
        f'<span class="chip">{html.escape(name)} <b>{text}</b></span> '
        for name, text in known.items()
    )
    summary = Markup(
        f"<h3>{html.escape(scan.subject)}</h3> "
        f'<span class="chip">{html.escape(_kind(scan))}</span> {chips}'
    )
    body: str
    if isinstance(view, str) or drawn is None:
        body = f'<p class="alert">No picture: {html.escape(view)}</p>'
    else:
        planes = ", ".join(
            f"{plane.name} at {plane.position}" if plane.position else plane.name
            for plane in view.planes
        )
        columns = ", ".join(TITLES[k] for k in TITLES if k in view.planes[0].slices)
        alt = f"{scan.subject}, {_kind(scan)}. Rows: {planes}. Columns: {columns}. "
        alt += ", ".join(f"{name} {text}" for name, text in known.items())
        body = html.picture(drawn.jpeg, alt, drawn.width, drawn.height)
        if view.missing:
            names = ", ".join(TITLES[key].split(",")[0] for key in view.missing)
            body += html.paragraph(f"Not in this run for this subject: {names}.", "soft")
        if _is_black(view):
            # Or else a reader takes a model that has not learned for a picture that is missing.
            words = "The reconstruction is there but black: below 2 % of the input's white."
            body += html.paragraph(words, "soft")
    return html.details(summary, body, "subject", anchor, shown=True)


def _is_black(view: SubjectView) -> bool:
    shown = [p.slices["reconstruction"] for p in view.planes if "reconstruction" in p.slices]
    return bool(shown) and max(float(array.max()) for array in shown) < 0.02 * view.window


def _about_pictures(run: RunFolder, views: dict[str, SubjectView | str], limit: float) -> str:
    fitted = (run.summary.get("thresholds") or {}).get(run.method)
    shown = [view for view in views.values() if isinstance(view, SubjectView)]
    text = (
        "Of each plane, the slice with the largest area of truth is shown; in subjects without a "
        f"lesion, the one with the most anomaly in total. Pictures are in {CONVENTION}. "
    )
    if shown and all(not plane.edges for view in shown for plane in view.planes):
        text = f"{AS_STORED[0].upper()}{AS_STORED[1:]}. "
    text += (
        f"The colours of the anomaly map run from 0 to {limit:.3g} in every subject, the 99.9th "
        "percentile of the brain voxels of the subjects shown; the map is as the method made it, "
        "before post-processing. Predicted masks are on the prepared grid, "
    )
    text += "at the healthy threshold" + (
        f" of {fitted:.3g} (▼ on the colour bar), which applies after post-processing."
        if fitted is not None
        else "."
    )
    drawn = [view for view in views.values() if isinstance(view, SubjectView)]
    if drawn and all("reconstruction" in view.missing for view in drawn):
        text += " This method makes no reconstruction."
    return html.paragraph(text, "soft")

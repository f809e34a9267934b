"""The report of a run folder: one HTML file that opens from disk, without a network."""

from collections.abc import Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from brainuad.errors import InputError

if TYPE_CHECKING:
    from brainuad.cohorts.manifest import Scan


SUBJECTS = 24


def make_report(run: Path, subjects: int = SUBJECTS, nameless: bool = False) -> Path:
    """Writes `run/report.html`, atomically.

    Args:
        run: a run folder; files that are missing are left out of the page, which says so.
        subjects: at most so many are shown as pictures.
        nameless: leave out pictures, names and places; see `brainuad.reporting.anonymous`.

    Returns:
        The page's path.

    Raises:
        InputError: `run` is not a run folder, or a file of it is damaged.
    """
    from brainuad.machine.files import write_text
    from brainuad.machine.links import follow_no_links
    from brainuad.reporting.anonymous import anonymous
    from brainuad.reporting.drawing.subject import draw_subject
    from brainuad.reporting.drawing.views import SubjectView, lesion_share, load_view, shared_limit
    from brainuad.reporting.pages import html, sections
    from brainuad.reporting.pages.difficulty import difficulty
    from brainuad.reporting.pages.latent import latent
    from brainuad.reporting.pages.subjects import subjects_section
    from brainuad.reporting.pages.trust import trust
    from brainuad.reporting.run_folder import read_run

    follow_no_links(run)
    if subjects < 0:
        raise InputError(f"--subjects {subjects}: give a number of subjects, 0 or more")
    folder = anonymous(read_run(run)) if nameless else read_run(run)
    scans = [
        scan
        for scan in (folder.cohort.scans if folder.cohort else ())
        if scan.split == "test" and folder.sequence in ("", scan.sequence)
    ]
    scans.sort(key=lambda scan: scan.healthy)
    views: dict[str, SubjectView | str] = {}
    for scan in choose(scans, subjects):
        try:
            views[scan.subject] = load_view(scan, run / "prepared")
        except InputError as error:
            views[scan.subject] = str(error)
    loaded = {name: view for name, view in views.items() if isinstance(view, SubjectView)}
    limit = shared_limit(list(loaded.values()))
    threshold = (folder.summary.get("thresholds") or {}).get(folder.method)
    pictures = {name: draw_subject(view, limit, threshold) for name, view in loaded.items()}
    body = "".join(
        (
            sections.failures(folder),
            sections.headline(folder),
            sections.scores(folder),
            sections.curves(folder, lesion_share(list(loaded.values()))),
            trust(folder),
            difficulty(folder),
            sections.training(folder),
            latent(folder),
            subjects_section(folder, scans, views, pictures, limit),
            sections.what_ran(folder),
        )
    )
    name = folder.summary.get("cohort") or folder.record.cohort.name
    title = f"{folder.method or 'run'} on {name or 'an unnamed cohort'}"
    facts = (
        folder.sequence,
        f"{len(scans)} test subjects" if scans else "",
        folder.record.time_started.replace("T", " "),
        "" if nameless else run.resolve().name,
    )
    subtitle = " · ".join(str(fact) for fact in facts if fact)
    parts = {
        "scores": "Scores",
        "curves": "Curves",
        "trust": "Trust",
        "difficulty": "What it finds",
        "training": "Training",
        "latent": "Latent space",
        "subjects": "Subjects",
        "ran": "What ran",
    }
    parts = {anchor: name for anchor, name in parts.items() if f'id="{anchor}"' in body}
    path = run / "report.html"
    write_text(path, html.page(title, subtitle, parts, body))
    return path


def choose(scans: Sequence["Scan"], count: int) -> list["Scan"]:
    """The subjects to show, pathological ones first.

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

"""The report of a run folder: one HTML file that opens from disk, without a network."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainuad.errors import InputError

SUBJECTS = 24
"""Number of subjects that are shown as pictures, unless the user asks for another."""

_TITLES = {
    "scores": ("Scores", "Scores"),
    "curves": ("Curves", "Curves"),
    "trust": ("Trust", "Can the score be trusted?"),
    "difficulty": ("What it finds", "What it finds: size, contrast, place"),
    "training": ("Training", "Training"),
    "latent": ("Latent space", "Is the latent space one of healthy brains?"),
    "subjects": ("Subjects", "Subjects"),
    "ran": ("What ran", "What ran"),
}
"""Part to its names in the navigation and above it. Its template has the part's name."""


@dataclass(frozen=True)
class Part:
    """A part of the report.

    Attributes:
        name: name of its template and its place on the page.
        short: name in the navigation.
        title: heading.
        content: what the template shows.
    """

    name: str
    short: str
    title: str
    content: Any


def make_report(run: Path, subjects: int = SUBJECTS, nameless: bool = False) -> Path:
    """Write `run/report.html`, atomically.

    Args:
        run: run folder; the page says which files are missing.
        subjects: largest number of subjects that are shown as pictures.
        nameless: leave out pictures, names and places; see `brainuad.reporting.anonymous`.

    Returns:
        The page's path.

    Raises:
        InputError: `run` is not a run folder, or a file of it is damaged.
    """
    from brainuad.machine.files import write_text
    from brainuad.machine.links import follow_no_links
    from brainuad.machine.text import quantity
    from brainuad.reporting.anonymous import anonymous
    from brainuad.reporting.pages import scores, training
    from brainuad.reporting.pages.difficulty import difficulty
    from brainuad.reporting.pages.latent import latent
    from brainuad.reporting.pages.render import render
    from brainuad.reporting.pages.subjects import subjects as subjects_of
    from brainuad.reporting.pages.trust import trust
    from brainuad.reporting.run_folder import CONTROL, read_run

    follow_no_links(run)
    if subjects < 0:
        raise InputError(f"--subjects {subjects}: give a number of subjects, 0 or more")
    folder = anonymous(read_run(run)) if nameless else read_run(run)
    people = subjects_of(folder, subjects)
    content = {
        "scores": scores.scores(folder),
        "curves": scores.curves(folder, people.share),
        "trust": trust(folder),
        "difficulty": difficulty(folder),
        "training": training.training(folder),
        "latent": latent(folder),
        "subjects": people,
        "ran": training.ran(folder),
    }
    name = folder.summary.cohort or folder.record.cohort.name
    facts = (
        folder.sequence,
        quantity(len(people.table.rows), "test subject") if people.table else "",
        folder.record.time_started.replace("T", " "),
        "" if nameless else run.resolve().name,
    )
    path = run / "report.html"
    page = render(
        "report.html",
        title=f"{folder.method or 'run'} on {name or 'an unnamed cohort'}",
        subtitle=" · ".join(fact for fact in facts if fact),
        run=folder,
        control=CONTROL,
        headlines=scores.headlines(folder),
        parts=[Part(n, *_TITLES[n], part) for n, part in content.items() if part is not None],
    )
    write_text(path, page)
    return path

"""The report of a run folder: one HTML file that opens from disk, without a network."""

from pathlib import Path

from brainuad.errors import InputError

SUBJECTS = 24
"""Number of subjects that are shown as pictures, unless the user asks for another."""


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
    from brainuad.reporting.anonymous import anonymous
    from brainuad.reporting.pages import scores
    from brainuad.reporting.pages.difficulty import difficulty
    from brainuad.reporting.pages.latent import latent
    from brainuad.reporting.pages.render import render
    from brainuad.reporting.pages.subjects import subjects as subjects_of
    from brainuad.reporting.pages.topology import topology
    from brainuad.reporting.pages.training import training
    from brainuad.reporting.pages.trust import trust
    from brainuad.reporting.run_folder import CONTROL, read_run

    follow_no_links(run)
    if subjects < 0:
        raise InputError(f"--subjects {subjects}: give a number of subjects, 0 or more")
    folder = anonymous(read_run(run)) if nameless else read_run(run)
    people = subjects_of(folder, subjects)
    # A part's template has its name.
    content = {
        "scores": scores.scores(folder),
        "curves": scores.curves(folder, people.share),
        "trust": trust(folder),
        "difficulty": difficulty(folder),
        "training": training(folder),
        "latent": latent(folder),
        "topology": topology(folder),
        "subjects": people,
        "ran": folder,
    }
    page = render(
        "report.html",
        title=f"{folder.method or 'run'} on {folder.cohort_name or 'an unnamed cohort'}",
        folder="" if nameless else run.resolve().name,
        run=folder,
        control=CONTROL,
        headlines=scores.headlines(folder),
        parts={name: part for name, part in content.items() if part is not None},
    )
    path = run / "report.html"
    write_text(path, page)
    return path

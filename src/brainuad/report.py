"""Makes `report.html` of a run folder: one file that opens from disk, without a network.

brainuad-report runs/strega/NAME
"""

import argparse
import sys
from collections.abc import Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from brainuad.cli import run_cli
from brainuad.errors import InputError

# matplotlib, nibabel and the like are imported where the work starts: --help answers at once.
if TYPE_CHECKING:
    from brainuad.cohorts.manifest import Scan

SUBJECTS = 24
EXAMPLE = """example:
  brainuad-report runs/strega/2026-01-31_12-00-00
  brainuad-report runs/strega/2026-01-31_12-00-00 --subjects 60
  brainuad-report compare runs/strega/A runs/intensity/B --out comparison
  brainuad-report folds runs/strega_small/folds
  brainuad-report difficulty runs/strega/2026-01-31_12-00-00
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `brainuad-report`; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["compare"]:
        return _compare_main(words[1:])
    if words[:1] == ["folds"]:
        return _folds_main(words[1:])
    if words[:1] == ["difficulty"]:
        return _difficulty_main(words[1:])
    parser = argparse.ArgumentParser(
        prog="brainuad-report",
        description="Makes RUN/report.html from the files of a run folder, or one table of "
        "several runs (brainuad-report compare --help), or of folds and seeds "
        "(brainuad-report folds --help). brainuad-report difficulty --help: which painted "
        "lesions a run's model finds.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="run folder that train.py printed")
    parser.add_argument(
        "--subjects",
        metavar="N",
        type=int,
        default=SUBJECTS,
        help="show at most N test subjects as pictures (default: %(default)s)",
    )
    return run_cli(_main, parser, words)


def _main(arguments: argparse.Namespace) -> int:
    print(make_report(arguments.run, arguments.subjects))
    return 0


def _compare_main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="brainuad-report compare",
        description="One table of several runs of one cohort, with paired tests between them.",
        epilog="example: brainuad-report compare runs/strega/A runs/intensity/B --out comparison",
    )
    parser.add_argument("runs", metavar="RUN", type=Path, nargs="+", help="run folders")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("comparison"),
        help="folder for compare.md, .tex, .html, .csv and tests.csv (default: %(default)s)",
    )
    return run_cli(_compare, parser, words)


def _compare(arguments: argparse.Namespace) -> int:
    from brainuad.reporting.comparison.runs import compare_runs, write_comparison

    write_comparison(compare_runs(arguments.runs), arguments.out)
    print((arguments.out / "compare.md").read_text(encoding="utf-8"))
    return 0


def _folds_main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="brainuad-report folds",
        description="One table of all folds and seeds of a cross-validation, of one method or "
        "several.",
        epilog="example: brainuad-report folds runs/strega/folds runs/madad/folds --out table",
    )
    parser.add_argument(
        "folders", metavar="DIR", type=Path, nargs="+", help="folders that hold the run folders"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=None,
        help="folder for folds.md, .tex, .html, .csv, runs.csv and tests.csv (default: DIR)",
    )
    return run_cli(_folds, parser, words)


def _folds(arguments: argparse.Namespace) -> int:
    from brainuad.machine.files import write_text
    from brainuad.reporting.comparison.folds import compare_folds, find_runs
    from brainuad.reporting.comparison.runs import write_comparison

    runs, unfinished = find_runs(arguments.folders)
    table, means = compare_folds(runs)
    out = arguments.out or arguments.folders[0]
    write_comparison(table, out, "folds")
    write_text(out / "runs.csv", means.to_csv(index=False, lineterminator="\n"))
    print((out / "folds.md").read_text(encoding="utf-8"))
    for path in unfinished:
        print(f"warning: {path} has no scores yet; repeat its command with ckpt=last")
    return 0


def _difficulty_main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="brainuad-report difficulty",
        description="Paints lesions of known size, contrast and place into the run's healthy "
        "validation brains, writes RUN/difficulty.csv and makes the report anew with it. No "
        "lesion label is needed.",
        epilog="example: brainuad-report difficulty runs/strega/NAME --draws 5",
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="run folder with model.ckpt")
    parser.add_argument(
        "--draws", metavar="N", type=int, default=3, help="lesions a cell (default: %(default)s)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda (default: %(default)s)")
    return run_cli(_difficulty, parser, words)


def _difficulty(arguments: argparse.Namespace) -> int:
    from brainuad.difficulty import measure_difficulty
    from brainuad.errors import PartialFailure

    if arguments.draws < 1:
        raise InputError(f"--draws {arguments.draws}: give a number of lesions, 1 or more")
    table, failures = measure_difficulty(arguments.run, arguments.draws, arguments.device)
    shown = table.groupby(["place", "radius_mm", "contrast"])[["ap", "recall"]].mean()
    print(shown.round(3).unstack("contrast").to_string())
    print(arguments.run / "difficulty.csv")
    print(make_report(arguments.run))
    if failures:
        raise PartialFailure(failures)
    return 0


def make_report(run: Path, subjects: int = SUBJECTS) -> Path:
    """Writes `run/report.html`, atomically.

    Args:
        run: a run folder; files that are missing are left out of the page, which says so.
        subjects: at most so many are shown as pictures.

    Returns:
        The page's path.

    Raises:
        InputError: `run` is not a run folder, or a file of it is damaged.
    """
    from brainuad.machine.files import write_text
    from brainuad.reporting.drawing.subject import draw_subject
    from brainuad.reporting.drawing.views import SubjectView, lesion_share, load_view, shared_limit
    from brainuad.reporting.pages import html, sections
    from brainuad.reporting.pages.difficulty import difficulty
    from brainuad.reporting.pages.latent import latent
    from brainuad.reporting.pages.subjects import subjects_section
    from brainuad.reporting.pages.trust import trust
    from brainuad.reporting.run_folder import read_run

    if subjects < 0:
        raise InputError(f"--subjects {subjects}: give a number of subjects, 0 or more")
    folder = read_run(run)
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
    name = folder.summary.get("cohort") or (folder.provenance.get("cohort") or {}).get("name")
    title = f"{folder.method or 'run'} on {name or 'an unnamed cohort'}"
    facts = (
        folder.sequence,
        f"{len(scans)} test subjects" if scans else "",
        str(folder.provenance.get("time_started") or "").replace("T", " "),
        run.resolve().name,
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


if __name__ == "__main__":
    sys.exit(main())

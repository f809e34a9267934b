"""Make `report.html` of a run folder, one file that opens without a network.

brainuad-report runs/strega/NAME
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from brainuad.cli.error_line import run_cli
from brainuad.errors import PartialFailure
from brainuad.machine.failures import Failures
from brainuad.machine.limits import require_folder, require_whole
from brainuad.machine.temporary import have_temporary
from brainuad.machine.text import csv_text, say
from brainuad.reporting.pages.report import SUBJECTS, make_report

EXAMPLE = """example:
  brainuad-report runs/strega/2026-01-31_12-00-00
  brainuad-report runs/strega/2026-01-31_12-00-00 --subjects 60
  brainuad-report compare runs/strega/A runs/intensity/B --out comparison
  brainuad-report folds runs/strega/folds
  brainuad-report difficulty runs/strega/2026-01-31_12-00-00
  brainuad-report topology runs/vae/2026-01-31_12-00-00
  brainuad-report classes results/
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `brainuad-report`; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    others = {
        "compare": _compare_main,
        "folds": _folds_main,
        "difficulty": _difficulty_main,
        "topology": _topology_main,
        "classes": _classes_main,
    }
    if words and words[0] in others:
        return others[words[0]](words[1:])
    parser = argparse.ArgumentParser(
        prog="brainuad-report",
        description="Make RUN/report.html from the files of a run folder. Other reports: "
        "'brainuad-report compare --help' compares runs, 'brainuad-report folds --help' "
        "summarises folds and seeds, 'brainuad-report difficulty --help' shows which painted "
        "lesions a model finds, 'brainuad-report topology --help' whether a latent space can hold "
        "the shape of healthy data, 'brainuad-report classes --help' groups the findings of many "
        "scans.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="run folder of train.py")
    parser.add_argument(
        "--subjects",
        metavar="N",
        type=int,
        default=SUBJECTS,
        help="largest number of test subjects with pictures (default: %(default)s)",
    )
    hidden = "leave out pictures, names, the command, the configuration and folders"
    parser.add_argument("--anonymous", action="store_true", help=hidden)
    return run_cli(_main, parser, words)


def _main(arguments: argparse.Namespace) -> int:
    require_whole(arguments.subjects, 0, "--subjects")
    _require_run(arguments.run)
    say(make_report(arguments.run, arguments.subjects, arguments.anonymous))
    return 0


def _require_run(run: Path) -> None:
    """Refuse a run folder that the report cannot be written to, before the pictures are drawn."""
    if run.is_dir():
        require_folder(run)
        have_temporary(run)


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

    require_folder(arguments.out)
    have_temporary(arguments.out)
    write_comparison(compare_runs(arguments.runs), arguments.out)
    say((arguments.out / "compare.md").read_text(encoding="utf-8"))
    return 0


def _folds_main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="brainuad-report folds",
        description="One table of all folds and seeds of a cross-validation, of one method or "
        "several.",
        epilog="example: brainuad-report folds runs/strega/folds runs/madad/folds --out table",
    )
    parser.add_argument(
        "folders", metavar="DIR", type=Path, nargs="+", help="folders with the run folders"
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

    out = arguments.out or arguments.folders[0]
    if arguments.out:
        require_folder(out)
    have_temporary(out)
    runs, unfinished = find_runs(arguments.folders)
    table, means = compare_folds(runs)
    write_comparison(table, out, "folds")
    write_text(out / "runs.csv", csv_text(means))
    say((out / "folds.md").read_text(encoding="utf-8"))
    for path in unfinished:
        say(f"warning: {path} has no scores yet; repeat its command with ckpt=last")
    return 0


def _difficulty_main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="brainuad-report difficulty",
        description="Paint lesions of known size, contrast and place into the run's healthy "
        "validation brains, write RUN/difficulty.csv and make the report again. No "
        "lesion label is needed.",
        epilog="example: brainuad-report difficulty runs/strega/NAME --draws 5",
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="run folder with model.ckpt")
    parser.add_argument(
        "--draws", metavar="N", type=int, default=3, help="lesions per kind (default: %(default)s)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda (default: %(default)s)")
    return run_cli(_difficulty, parser, words)


def _difficulty(arguments: argparse.Namespace) -> int:
    from brainuad.label_free.difficulty import measure_difficulty

    require_whole(arguments.draws, 1, "--draws")
    _require_run(arguments.run)
    table, failures = measure_difficulty(arguments.run, arguments.draws, arguments.device)
    shown = table.groupby(["place", "radius_mm", "contrast"])[["ap", "recall"]].mean()
    say(shown.round(3).unstack("contrast").to_string())
    return _measured(arguments.run, "difficulty.csv", failures)


def _measured(run: Path, name: str, failures: Failures) -> int:
    """Make the report of a run again and name its new file; the scans that failed end the command.

    Raises:
        PartialFailure: some scan failed.
    """
    say(run / name)
    say(make_report(run))
    if failures:
        raise PartialFailure(failures)
    return 0


def _topology_main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="brainuad-report topology",
        description="Compare pieces and loops of the healthy data of a run with those of their "
        "latent vectors, by persistent homology; write RUN/topology.json and make the report "
        "again. For autoencoders; needs pip install 'brainuad[topology]'.",
        epilog="example: brainuad-report topology runs/vae/NAME",
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="run folder with model.ckpt")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda (default: %(default)s)")
    return run_cli(_topology, parser, words)


def _topology(arguments: argparse.Namespace) -> int:
    from brainuad.label_free.topology import measure_topology

    _require_run(arguments.run)
    failures = measure_topology(arguments.run, arguments.device)
    return _measured(arguments.run, "topology.json", failures)


def _classes_main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="brainuad-report classes",
        description="Group the findings of many scans into classes by size, shape and place, "
        "without labels. Writes OUT/classes.csv (the class of each finding) and OUT/classes.html "
        "(examples of each class). A class is no diagnosis.",
        epilog="example: brainuad-report classes results/ --classes 3",
    )
    where = "folder of brainuad-predict, or run folder of train.py"
    parser.add_argument("results", metavar="RESULTS", type=Path, help=where)
    out = "folder of the table and the page (default: RESULTS)"
    parser.add_argument("out", metavar="OUT", type=Path, nargs="?", help=out)
    number = "number of classes (default: 2 to 6, the most distinct by mean silhouette)"
    parser.add_argument("--classes", metavar="N", type=int, help=number)
    shown = "pictures per class (default: %(default)s)"
    parser.add_argument("--examples", metavar="N", type=int, default=8, help=shown)
    return run_cli(_classes, parser, words)


def _classes(arguments: argparse.Namespace) -> int:
    from brainuad.classes.write import PAGE, TABLE, write_classes

    if arguments.classes is not None:
        require_whole(arguments.classes, 2, "--classes")
    require_whole(arguments.examples, 0, "--examples")
    out = arguments.out or arguments.results
    if arguments.out or out.is_dir():
        require_folder(out)
        have_temporary(out)
    found, failures = write_classes(arguments.results, out, arguments.classes, arguments.examples)
    own = found.table.drop_duplicates("scan_id")
    for number, part in found.table.groupby("class"):
        scans = int((own["scan_class"] == number).sum())
        say(f"class {number}: {len(part)} findings, most of the weight in {scans} scans")
    say(out / TABLE)
    say(out / PAGE)
    if failures:
        raise PartialFailure(failures)
    return 0


if __name__ == "__main__":
    sys.exit(main())

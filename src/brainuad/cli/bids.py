"""Predictions for a BIDS dataset as a BIDS derivative, with the command line of a BIDS App.

brainuad-bids BIDS_DIR OUT {participant,group}
"""

import argparse
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from brainuad.cli import predict
from brainuad.cli.error_line import run_cli
from brainuad.cli.predict_words import asked_of
from brainuad.errors import InputError
from brainuad.machine.failures import Failures
from brainuad.machine.temporary import have_temporary
from brainuad.machine.text import say
from brainuad.shipped import SENSITIVITY

DESCRIPTION = """Mark lesions in the anatomical scans of a BIDS dataset.

Level participant writes masks, anomaly maps and findings in words as a BIDS derivative in OUT, and
logs/CITATION.md, the methods in words. Level group writes the table participants.tsv and the page
index.html of all participants in OUT. BIDS_DIR is only read. A second run does only what is missing
or has changed, and several runs may share one OUT.

Without --model, the shipped model `universal` predicts the T1w, T2w and FLAIR scans. For research;
not for diagnosis.
"""

EXAMPLES = """examples:
  brainuad-bids bids/ bids/derivatives/brainuad participant
  brainuad-bids bids/ out/ participant --participant-label 01 02 --session-label baseline
  brainuad-bids bids/ out/ participant --bids-filter-file filter.json --model model.ckpt
  brainuad-bids bids/ out/ group

filter.json, to predict the FLAIR scans of run 1 that were not reconstructed anew:
  {"suffix": "FLAIR", "run": 1, "reconstruction": null}

exit status: 0 all done; 2 bad input; 3 some scans failed and the others are done, see the list
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `brainuad-bids`; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="brainuad-bids",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("bids_dir", metavar="BIDS_DIR", type=Path, help="root of a raw BIDS dataset")
    add("out", metavar="OUT", type=Path, help="folder of the derivative, new or to complete")
    add("level", choices=("participant", "group"), help="level of the analysis")
    whom = "participants, with or without sub- (default: all)"
    _add_labels(parser, "participant", whom)
    when = "sessions, with or without ses- (default: all)"
    _add_labels(parser, "session", when)
    which = "JSON file that chooses scans by suffix, session, acquisition, reconstruction and run"
    add("--bids-filter-file", metavar="FILE", type=Path, help=which)
    checked = "do not check dataset_description.json of BIDS_DIR"
    add("--skip-bids-validation", "--skip_bids_validation", action="store_true", help=checked)
    add("--model", metavar="MODEL", help="model as of brainuad-predict (default: universal)")
    marked = "probability for a shipped model: 0.7, 0.5 or 0.3 (default: default)"
    add("--sensitivity", choices=list(SENSITIVITY), help=marked)
    add("--device", default="auto", help="device: cpu, cuda, … (default: %(default)s)")
    processes = "processes for preparation (default: %(default)s)"
    add("--n-procs", "--n_procs", "--nprocs", type=int, default=1, help=processes)
    add("--dry-run", action="store_true", help="list the scans and the work, and stop")
    return run_cli(_main, parser, argv)


def _add_labels(parser: argparse.ArgumentParser, what: str, text: str) -> None:
    names = f"--{what}-label", f"--{what}_label"
    parser.add_argument(*names, nargs="+", action="extend", default=[], metavar="LABEL", help=text)


def _main(arguments: argparse.Namespace) -> int:
    from brainuad.inference.bids_select import require_dataset
    from brainuad.inference.derivative import require_own

    if not arguments.bids_dir.is_dir():
        raise InputError(f"{arguments.bids_dir}: no such folder; give the root of a BIDS dataset")
    if not arguments.skip_bids_validation:
        require_dataset(arguments.bids_dir)
    require_own(arguments.out)
    if not arguments.dry_run:
        have_temporary(arguments.out)
    if arguments.level == "group":
        return _group(arguments.out)
    return _participants(arguments)


def _participants(arguments: argparse.Namespace) -> int:
    from brainuad.cohorts.find import find_all
    from brainuad.inference.bids_select import (
        chosen_participants,
        label_of,
        read_queries,
        select,
    )
    from brainuad.inference.derivative import CITATION, write_about, write_sidecars
    from brainuad.inference.methods_text import methods_text
    from brainuad.machine.files import write_text
    from brainuad.model.know import know

    source, out = arguments.bids_dir, arguments.out
    people = chosen_participants(source, arguments.participant_label)
    path = arguments.bids_filter_file
    queries = [] if path is None else read_queries(path)
    found = find_all(source, every=True, out=out)
    found = select(found, source, people, arguments.session_label, queries)
    words = _words_of_predict(arguments)
    asks = [ask._replace(listed=found) for ask in asked_of(words, found)]
    known = [know(*ask.models, **ask.choices) for ask in asks]
    models = {own.sequence: own for own in known}
    describe = partial(write_sidecars, out, source, [scan.image for scan in found.scans], models)
    try:
        wanted, failures = predict.predict_all(asks, words)
    except BaseException:
        # Finished scans get their sidecars if the disk allows it; the first error is reported.
        with suppress(OSError):
            if not arguments.dry_run:
                describe()
        raise
    if arguments.dry_run:
        return 0
    describe()
    write_about(out)
    write_text(out / CITATION, methods_text(known))
    say(f"methods to cite: {out / CITATION}")
    have = {label_of(item.scan.image) for item in wanted}
    lacking = [label for label in people if label not in have]
    failures += _without_scan(lacking, bool(arguments.participant_label))
    failures.raise_if_any()
    return 0


def _words_of_predict(arguments: argparse.Namespace) -> argparse.Namespace:
    """Return the arguments of `brainuad-predict` for the same work."""
    words = [str(arguments.bids_dir), str(arguments.out), "--no-page"]
    words += ["--device", arguments.device, "--jobs", str(arguments.n_procs)]
    for name in ("model", "sensitivity"):
        if (value := getattr(arguments, name)) is not None:
            words += [f"--{name}", value]
    if arguments.dry_run:
        words.append("--dry-run")
    return predict.command_line().parse_args(words)


def _without_scan(labels: Sequence[str], named: bool) -> Failures:
    """Return failures of participants without a scan to predict, if they were named; else a note.

    Args:
        labels: labels of the participants.
        named: True where the user named the participants.
    """
    if labels and not named:
        say(f"note: no scan to predict of {', '.join(labels)}")
    why = "has no scan that the model is for and the filter allows"
    return Failures((f"sub-{label}", why) for label in labels if named)


def _group(out: Path) -> int:
    from brainuad.inference.derivative import write_about, write_group
    from brainuad.inference.outputs import write_tables
    from brainuad.reporting.attempt import attempt
    from brainuad.reporting.viewer import write_page

    table = write_group(out)
    write_about(out)
    write_tables(out)
    say(f"{out}: {len(table)} participants; see participants.tsv")
    attempt(lambda: write_page(out), "look at")
    return 0

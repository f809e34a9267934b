"""Anomaly maps, 3D masks and findings of scans, each in its own space, from a trained model.

brainuad-predict [MODEL] SCANS OUT
"""

import argparse
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from brainuad.cli.error_line import run_cli
from brainuad.cli.predict_plan import plan
from brainuad.cli.predict_words import Asked, asked_of
from brainuad.errors import InputError
from brainuad.machine.failures import Failures
from brainuad.machine.temporary import have_temporary
from brainuad.machine.text import say
from brainuad.shipped import SENSITIVITY

# numpy, torch and the like are imported where the work starts: --help answers at once.
if TYPE_CHECKING:
    from brainuad.inference.find_scans import Source, Wanted
    from brainuad.model.ensemble import Ensemble
    from brainuad.model.known import Known
    from brainuad.model.model import Model

DESCRIPTION = """Mark anomalies in brain scans, with a mask on each scan's own grid.

SCANS is a NIfTI file, a folder, a BIDS dataset, folders of DICOM series, a CSV as for
brainuad-prepare, or a cohort folder. A model trained on slices (data=slices) takes 2D images. Each
scan of the model's sequence is prepared as the training scans were, and scored. A model of several
sequences makes one prediction per subject, on the grid of the first sequence.

OUT gets index.html, subjects.csv, findings.csv and for each scan the anomaly map and the mask, and
if the method makes them the pseudo-healthy reconstruction and the uncertainty. Unsuitable scans are
flagged in subjects.csv, with the reason. A second run does only what is missing or has changed.

Without MODEL, the shipped model `universal` is used, which needs no healthy scans of your scanner.
It marks voxels with a lesion probability above 0.5 (--sensitivity). For research; not for
diagnosis.
"""

EXAMPLES = """examples:
  brainuad-predict demo results/                                 # a synthetic head, a first look
  brainuad-predict patient.nii.gz results/ --sequence FLAIR      # the model that comes with it
  brainuad-predict model.ckpt scans/ results/
  brainuad-predict model.zip bids/ results/ --dry-run            # what would be done
  brainuad-predict fold0.ckpt scans/ results/ --also fold1.ckpt --also fold2.ckpt
  brainuad-predict model.ckpt brains.csv results/ preparation=extracted
  brainuad-predict visit2_FLAIR.nii.gz results/ --baseline visit1_FLAIR.nii.gz
  brainuad-predict series/ results/ --dicom-seg                  # for a PACS
(python predict.py takes the same arguments.)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `predict.py` and `brainuad-predict`; returns the exit status."""
    return run_cli(_main, command_line(), argv)


def command_line() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="brainuad-predict",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    words = "MODEL: model.ckpt, its run folder, a bundle, or the name of a model that comes with "
    words += (
        "brainuad (default: universal). SCANS: scans to predict, or `demo` for a synthetic head. "
    )
    words += "OUT: folder of the results, new or to complete. key=value: changes of the model's "
    words += "preparation, preparation=NAME or preparation.steps.KEY=VALUE"
    add("words", metavar="[MODEL] SCANS OUT [key=value ...]", nargs="*", help=words)
    add("--model", metavar="MODEL", help="the same as the word MODEL")
    more = "a further model to average, another fold or another method; may be repeated. Maps of "
    more += "several methods are divided by their models' thresholds first, and 1 is the threshold"
    add("--also", metavar="MODEL", type=Path, action="append", default=[], help=more)
    add("--dry-run", action="store_true", help="list the scans and the work, and stop")
    unnamed = "sequence of scans whose file name does not state it (default: the model's)"
    add("--sequence", help=unnamed)
    marks = "a number, or the model's healthy, scan (for another scanner), mebin or fixed "
    marks += "(default: healthy; for a shipped model fixed, a probability of 0.5)"
    add("--threshold", help=marks)
    marked = "probability for a shipped model: 0.7, 0.5 or 0.3 (default: default)"
    add("--sensitivity", choices=list(SENSITIVITY), help=marked)
    add("--samples", type=int, help="random draws per scan (default: the model's number)")
    add("--device", default="auto", help="device: cpu, cuda, … (default: %(default)s)")
    add("--batch-size", type=int, help="tiles per batch (default: as many as fit the memory)")
    precisions = "32-true, or faster on a GPU: bf16-mixed, 16-mixed, auto (default: %(default)s)"
    add("--precision", default="32-true", help=precisions)
    add("--jobs", type=int, default=1, help="processes for preparation (default: %(default)s)")
    before = (
        "earlier scan of the same person, or folder of earlier scans: also writes what is new, "
    )
    before += "grown, shrunk and vanished (OUT/changes.html, OUT/changes.csv, masks)"
    add("--baseline", metavar="FIRST", type=Path, help=before)
    kept = "also write OUT/prepared: raw maps on the prepared grid, as evaluate.py takes them"
    add("--keep-maps", action="store_true", help=kept)
    object_ = "also write a DICOM Segmentation object for each DICOM series; extra `dicom`"
    add("--dicom-seg", action="store_true", help=object_)
    add("--no-page", action="store_true", help="do not write the page OUT/index.html")
    hidden = "write the page without pictures, names, reasons and folders; scans are numbered"
    add("--anonymous", action="store_true", help=hidden)
    parser.usage = "%(prog)s [options] [MODEL] SCANS OUT [key=value ...]"
    return parser


def _main(arguments: argparse.Namespace) -> int:
    asks = asked_of(arguments)
    if not arguments.dry_run:
        have_temporary(asks[0].out)
    if arguments.baseline is not None:
        from brainuad.cli.two_visits import compare_visits

        return compare_visits(asks, arguments, predict_all)
    predict_all(asks, arguments)[1].raise_if_any()
    return 0


def predict_all(
    asks: Sequence[Asked], arguments: argparse.Namespace
) -> "tuple[list[Wanted], Failures]":
    """Predict all scans of a place; return them and the failures, or the scans of a dry run."""
    from brainuad.cohorts.account import account, write_aside

    scans, out = asks[0].scans, asks[0].out
    paired = arguments.baseline is not None
    jobs = [_job(asked, arguments.batch_size, arguments.dry_run, paired) for asked in asks]
    wanted = [item for job in jobs for item in job.source.wanted]
    listed = jobs[0].source.found
    if listed is not None:
        raw = [scan for item in wanted for scan in item.scans]
        say(account(listed, raw, arguments.dry_run, to_predict=True))
    if arguments.dicom_seg:
        from brainuad.inference.segmentations import require_dicom, write_segmentations

        require_dicom(wanted)
    predicted = {job.known.sequence for job in jobs}
    for job in jobs:
        say(plan(job.known, job.source, len(job.todo), out, predicted))
    if arguments.dry_run:
        return wanted, Failures()
    from brainuad.inference.outputs import write_dataset_description, write_tables
    from brainuad.machine.files import own_folder, remove_leftovers
    from brainuad.machine.links import follow_no_links
    from brainuad.machine.present import present

    follow_no_links(out)
    if listed is not None:
        write_aside(listed, out, scans)
    if wanted[0].bids:
        write_dataset_description(out, scans)
    todo = [item for job in jobs for item in job.todo]
    for folder in dict.fromkeys([out, *(out / item.folder for item in todo)]):
        remove_leftovers(folder)
    failures = Failures()
    # A folder of its own: another command may use the same OUT.
    with own_folder(out / "work") as work, present(out, work):
        try:
            for number, job in enumerate(jobs):
                failures += _predict(job, work / str(number), out, arguments)
                if arguments.dicom_seg:
                    failures += write_segmentations(out, job.source.wanted, job.known)
        except BaseException:
            # Finished scans are listed if the disk allows it; the first error is reported.
            with suppress(OSError):
                write_tables(out)
            raise
        table = write_tables(out)
    own = table["scan_id"].isin({item.scan_id for item in wanted})
    counts = table["status"][own].value_counts()
    more = f"; {(~own).sum()} of other commands" if not own.all() else ""
    say(f"{out}: {counts.get('done', 0)} done, {counts.get('flagged', 0)} flagged, "
          f"{counts.get('failed', 0)} failed{more}; see subjects.csv and findings.csv")  # fmt: skip
    if not arguments.no_page:
        from brainuad.inference.outputs import tables_in
        from brainuad.machine.files import until_still
        from brainuad.reporting.attempt import attempt
        from brainuad.reporting.viewer import write_anonymous_page, write_page

        make = write_anonymous_page if arguments.anonymous else write_page
        whole = partial(until_still, lambda: tables_in(out), lambda: make(out))
        attempt(whole, "look at", bool(failures))
    return wanted, failures


class _Job(NamedTuple):
    """The scans of one sequence, and the model that predicts them.

    Attributes:
        model: the model; None in a dry run.
        known: its cards and choices.
        source: scans that were found.
        todo: scans that are not done.
        stamps: scan of `todo` to the fingerprint of its prediction; empty in a dry run.
    """

    model: "Model | Ensemble | None"
    known: "Known"
    source: "Source"
    todo: "list[Wanted]"
    stamps: dict[str, str]


def _job(asked: Asked, batch_size: int | None, dry: bool, paired: bool) -> _Job:
    from brainuad.inference.find_scans import find_wanted
    from brainuad.inference.records import read_done, scan_stamp
    from brainuad.machine.fingerprint import fingerprint
    from brainuad.model.know import know

    model = None
    if dry:
        known = know(*asked.models, **asked.choices)
        _check_device(asked.choices["device"])
    else:
        from brainuad.model.api import load

        model = load(*asked.models, batch_size=batch_size, **asked.choices)
        known = model.known
    source = find_wanted(
        *(asked.scans, known.sequences, asked.out, asked.sequence),
        trained_on=known.trained_on,
        split_hash=known.card.split_hash,
        pixel_mm=known.pixel_mm,
        listed=asked.listed,
    )

    def stamp(item: "Wanted") -> str:
        scans = "\n".join(scan_stamp(scan) for scan in item.scans)
        # Of a pair the brain masks are kept as well.
        return fingerprint(known.stamp, scans, *["brain"] * paired)

    todo = [item for item in source.wanted if not read_done(asked.out, item, stamp)]
    if source.cohort is None:
        from brainuad.cohorts.scans import RawScan
        from brainuad.preparation.planned_grids import require_grids

        raw = [scan for item in todo for scan in item.scans if isinstance(scan, RawScan)]
        require_grids(raw, known.steps)
    # A stamp needs the hash of the weights, which a dry run would have to load.
    stamps = {} if dry else {item.scan_id: stamp(item) for item in todo}
    return _Job(model, known, source, todo, stamps)


def _check_device(name: str) -> None:
    """Refuse a device that cannot be used; `auto` and `cpu` need no import of torch, which is slow.

    Raises:
        InputError: no such device.
    """
    if name not in ("auto", "cpu"):
        from brainuad.model.device import device

        device(name)


def _predict(job: _Job, work: Path, out: Path, arguments: argparse.Namespace) -> Failures:
    """Prepare, score and write scan after scan; return the failures with their reasons."""
    from rich.progress import track

    from brainuad.cohorts.map_folder import MapFolder
    from brainuad.inference.outputs import write_brain, write_failure, write_maps, write_prediction
    from brainuad.inference.prepare_scans import prepare_wanted, read_wanted
    from brainuad.inference.records import read_done
    from brainuad.machine.present import require_any
    from brainuad.model.card import preparation_of

    model, source, todo = job.model, job.source, job.todo
    assert model is not None
    if source.cohort is not None:
        recipe = preparation_of(source.cohort, job.known.sequences) or job.known.recipe
        ready = read_wanted(todo, source.cohort, recipe)
    else:
        ready = prepare_wanted(todo, job.known.steps, job.known.recipe, work, arguments.jobs)
    maps = MapFolder(out / "prepared")
    if arguments.keep_maps:
        maps.describe("", job.known.trained_on)
    failures = Failures()
    there = [item.scan.image for item in todo if item.scan.image.exists()]

    def elsewhere(item: "Wanted") -> bool:
        """Return whether another command did the same scan in the meantime."""
        return read_done(out, item, lambda item: job.stamps[item.scan_id])

    for item, found in track(ready, description="predicting", total=len(todo)):
        own = Failures()
        if not arguments.keep_maps and elsewhere(item):
            continue
        with own.catching(item.scan_id, item.scan.image):
            if isinstance(found, str):
                raise InputError(found)
            prediction = model.predict_prepared(found)
            if arguments.keep_maps:
                write_maps(maps, item, prediction)
            if arguments.baseline is not None:
                write_brain(out, item, prediction)
            write_prediction(out, item, job.known.sequence, prediction, job.stamps[item.scan_id])
        if own:
            require_any(there)
            if elsewhere(item):
                continue
        for _, reason in own:
            write_failure(out, item, job.known.sequence, reason)
        failures += own
    return failures

"""A cohort from many subjects: in parallel, resumable scan by scan, one bad scan stops nothing."""

import hashlib
import multiprocessing
import os
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import SimpleITK as sitk
from rich.progress import track

from brainuad.cohorts.manifest import MANIFEST, Cohort
from brainuad.cohorts.scans import RawScan, file_stamp
from brainuad.cohorts.split_rules import check_scans
from brainuad.cohorts.splits import planned_scan
from brainuad.errors import CannotWrite, InputError
from brainuad.machine.failures import Failures
from brainuad.machine.files import (
    own_folder,
    remove,
    remove_leftovers,
    sizes,
    until_still,
)
from brainuad.machine.links import follow_no_links
from brainuad.machine.present import present, require_any
from brainuad.machine.room import Room
from brainuad.machine.text import say
from brainuad.machine.threads import one_thread
from brainuad.preparation.finish import Finish
from brainuad.preparation.made import Made, is_done, prepared_by
from brainuad.preparation.normalise.intensity import Normalise
from brainuad.preparation.pipeline import Preparation
from brainuad.preparation.quality.measures import Limits
from brainuad.preparation.records import (
    Key,
    key_of,
    normalised_path,
    record_path,
    write_record,
)
from brainuad.preparation.slices import SlicePreparation
from brainuad.preparation.subject import prepare_subject, reference_of

_FILES = (
    *("work/{}.nii.gz", "masks/{}_brain.nii.gz", "masks/{}_lesion.nii.gz", "transforms/{}.json"),
    *("native/{}.nii.gz", "native/{}_lesion.nii.gz"),
)
"""Files of a scan that are written before its record."""

TABLES, TABLES_SCAN = 32768, 2048
"""Bytes that the manifest and all that is written with it take, about, and that each scan adds."""

PAGE = 4096
"""Bytes by which an image may take more room when its intensities are normalised."""


def prepare_cohort(
    raw: Sequence[RawScan],
    preparation: Preparation | SlicePreparation,
    normalise: Normalise,
    limits: Limits,
    out: Path,
    source: Path,
    jobs: int = 1,
    spaces: Sequence[str] = (),
) -> Cohort:
    """Prepare all scans into the cohort folder `out`.

    A second call does only what is missing, or whose files or parameters changed. Several calls may
    be at work at once, here or on other machines: with the same scans or with other ones, which
    come to lie in one cohort where they were prepared in the same way.

    Args:
        raw: scans with splits.
        preparation: its steps.
        normalise: intensity normalisation; one that learns is fitted on the training scans.
        limits: limits of the quality flags.
        out: cohort folder; `failures.csv` lists what could not be prepared.
        source: name of the source in the record. Scans of the same source that are not in `raw`
            leave the cohort.
        jobs: processes.
        spaces: notes on the scans' spaces, for the record.

    Raises:
        InputError: not one scan could be prepared, or a person would be in two splits.
    """
    follow_no_links(out)
    made = Made(out, source, prepared_by(preparation, normalise))
    others = [scan for scan, _ in made.others(raw)]
    check_scans([planned_scan(scan) for scan in [*raw, *others]], out / MANIFEST)
    if others:
        say(f"note: {out} holds {len(others)} scans of other sources, which stay in it")
    if count := made.differing():
        say(
            f"note: {out} holds {count} scans of other sources that were prepared in another way; "
            f"{MANIFEST} leaves them out"
        )
    with own_folder(out / "cohort") as own, present(out, own):
        remove_leftovers(out)
        stamps = _all_stamps(raw, preparation)
        failures = Failures()
        there = [scan.image for scan in raw if scan.image.exists()]
        tasks = _tasks(raw, preparation, stamps, out)
        left = len(tasks)
        room = Room(own / "room", TABLES + TABLES_SCAN * len(raw))
        finish = Finish(raw, preparation, normalise, limits, made, stamps, spaces, room)
        try:
            if tasks:
                room.keep(0, out / MANIFEST)
                _keep_room(raw, out, room)
            work = run_tasks(tasks, jobs)
            for task, found in track(work, description="preparing", total=len(tasks)):
                failures += found
                left -= 1
                # After the last subject nothing else is written before the room is given back.
                if left:
                    _keep_room(task[0], out, room)
            if failures:
                require_any(there)
            # In the order of the list, whichever process was done first.
            order = list(dict.fromkeys(scan.subject for scan in raw))
            failures.sort(key=lambda failure: order.index(failure[0]))
            return until_still(lambda: made.state(raw), lambda: finish(failures))
        except CannotWrite:
            # What is done is listed, as far as the disk takes it.
            with suppress(InputError, OSError):
                _remove_unfinished(tasks, out)
                finish.what_fits()
            raise


def _tasks(
    raw: Sequence[RawScan],
    preparation: Preparation | SlicePreparation,
    stamps: Mapping[Key, str],
    out: Path,
) -> list["Task"]:
    """Return what is to be done: the missing sequences of each subject, with their stamps."""
    tasks: list[Task] = []
    for scans in _by_subject(raw).values():
        wanted = {scan.sequence: stamps[key_of(scan)] for scan in scans}
        if missing := _missing(scans, wanted, out):
            tasks.append((scans, preparation, missing, out))
    return tasks


def _by_subject(raw: Sequence[RawScan]) -> dict[str, list[RawScan]]:
    found: dict[str, list[RawScan]] = {}
    for scan in raw:
        found.setdefault(scan.subject, []).append(scan)
    return found


def _keep_room(scans: Sequence[RawScan], out: Path, room: Room) -> None:
    """Keep room for the intensities of scans that are prepared: about what they take now."""
    for scan in scans:
        image, final = out / _FILES[0].format("_".join(key_of(scan))), normalised_path(scan, out)
        if record_path(scan, out).is_file() and image.is_file() and not final.is_file():
            room.keep(image.stat().st_size + PAGE, final)


def _remove_unfinished(tasks: Sequence["Task"], out: Path) -> None:
    """Remove files of scans that have no record yet: they are made anew, and take room."""
    for scans, _, wanted, _ in tasks:
        for scan in scans:
            if scan.sequence in wanted and not record_path(scan, out).is_file():
                name = "_".join(key_of(scan))
                for place in _FILES:
                    remove(out / place.format(name))


def _task(
    scans: list[RawScan],
    preparation: Preparation | SlicePreparation,
    wanted: dict[str, str],
    out: Path,
) -> Failures:
    """One subject's sequences that are `wanted`, with the stamps of their records.

    A record is written when the scan's other files are, so that a killed run goes on after the
    last whole scan. `Finish` writes it a second time with what needs the other scans.
    """
    # One thread per process: the sums of a registration then come in one order, every time.
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    failures = Failures()
    with failures.catching(scans[0].subject, scans[0].image):
        # Another command may do the same scans, now and until these are done.
        wanted = _missing(scans, wanted, out)
        if not wanted:
            return failures
        records, failed = prepare_subject(scans, preparation, out, wanted)
        missing = _missing(scans, wanted, out)
        failures += failed if missing else []
        for record in records:
            if record.sequence in missing:
                write_record(replace(record, stamp=wanted[record.sequence]), out)
    return failures


def _missing(scans: list[RawScan], wanted: dict[str, str], out: Path) -> dict[str, str]:
    return {
        scan.sequence: wanted[scan.sequence]
        for scan in scans
        if scan.sequence in wanted and not is_done(scan, wanted[scan.sequence], out)
    }


Task = tuple[list[RawScan], Preparation | SlicePreparation, dict[str, str], Path]


def run_tasks(tasks: list[Task], jobs: int) -> Iterator[tuple[Task, Failures]]:
    """Prepare subjects up to normalisation, and yield each when it is done.

    Args:
        tasks: scans of one subject, the steps, the stamps of the wanted sequences, and the folder.
        jobs: processes.
    """
    if jobs <= 1:
        yield from ((task, _task(*task)) for task in tasks)
        return
    # A process that is killed takes the pool and all that waited with it: they go on one by one,
    # and the one that breaks its process again is the one to blame.
    left = yield from _pooled(tasks, jobs)
    for task in left:
        if (yield from _pooled([task], 1)):
            image = task[0][0].image
            reason = "its process was killed (out of memory?); run again with fewer jobs"
            yield task, Failures([(task[0][0].subject, f"{image}: {reason}")])


def _pooled(tasks: list[Task], jobs: int) -> Generator[tuple[Task, Failures], None, list[Task]]:
    """Yield each task's failures; return the tasks that a killed process left undone."""
    # A fresh interpreter each: torch and ITK do not survive a fork with their threads.
    context = multiprocessing.get_context("spawn")
    left = []
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker) as pool:
        futures = {pool.submit(_task, *task): task for task in tasks}
        try:
            for future in as_completed(futures):
                try:
                    yield futures[future], future.result()
                except BrokenProcessPool:
                    left.append(futures[future])
        finally:
            # Where this process is told to end, or nothing can be written any more, those that
            # wait are not begun.
            pool.shutdown(wait=False, cancel_futures=True)
    return left


def _start_worker() -> None:
    """One thread for networks too, and an end when the parent is gone, `kill -9` included."""
    one_thread()
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _all_stamps(
    raw: Sequence[RawScan], preparation: Preparation | SlicePreparation
) -> dict[Key, str]:
    subjects = _by_subject(raw).values()
    return {key: stamp for scans in subjects for key, stamp in _stamps(scans, preparation)}


def _stamps(
    scans: list[RawScan], preparation: Preparation | SlicePreparation
) -> Iterator[tuple[Key, str]]:
    """Yield the stamp of each scan: hash of its row, its files, the template, its reference and
    the parameters.
    """
    reference, template, shared = None, [], {}
    if isinstance(preparation, Preparation):
        shared = dict(preparation.shared)
        reference = reference_of(scans, preparation)
        template = [Path(p) for p in (preparation.atlas_image, preparation.atlas_mask) if p]
    parameters = "\n".join([repr(preparation), *sizes(template)])
    for scan in scans:
        digest = hashlib.sha256(parameters.encode())
        if scan.sequence in shared:
            digest.update(repr(shared[scan.sequence]).encode())
        for item in (scan, reference):
            if item is not None:
                digest.update(file_stamp(item).encode())
        yield key_of(scan), digest.hexdigest()

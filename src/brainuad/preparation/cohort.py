"""A cohort from many subjects: in parallel, resumable scan by scan, one bad scan stops nothing."""

import hashlib
import multiprocessing
import os
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import SimpleITK as sitk
from rich.progress import track

from brainuad.cohorts.copies import copies_of
from brainuad.cohorts.manifest import Cohort, Scan, write_cohort
from brainuad.cohorts.scans import RawScan, file_stamp
from brainuad.errors import InputError
from brainuad.machine.files import remove_leftovers, sizes, write_csv, write_json
from brainuad.machine.guard import Failures, guarded
from brainuad.machine.links import follow_no_links
from brainuad.machine.read import read_json
from brainuad.machine.threads import one_thread
from brainuad.preparation.normalise.cohort import fitted, record_path, write_normalised
from brainuad.preparation.normalise.intensity import Normalise
from brainuad.preparation.pipeline import Preparation
from brainuad.preparation.quality.left_right import compare_with_mirror
from brainuad.preparation.quality.measures import Limits
from brainuad.preparation.slices import SlicePreparation
from brainuad.preparation.subject import prepare_subject, reference_of
from brainuad.settings.describe import recipe_of

Records = dict[tuple[str, str], dict[str, Any]]
"""(subject, sequence) to what was done."""


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
    """Prepares all scans into the cohort folder `out`.

    A second call does only what is missing, or whose files or parameters changed.

    Args:
        raw: scans with splits.
        preparation: the chain.
        normalise: of intensities; one that learns is fitted on the training scans.
        limits: of the quality flags.
        out: cohort folder; `failures.csv` lists what could not be prepared.
        source: said in the record.
        jobs: processes.
        spaces: what was said of the scans' spaces, for the record.

    Raises:
        InputError: not one scan could be prepared.
    """
    follow_no_links(out)
    subjects: dict[str, list[RawScan]] = {}
    for scan in raw:
        subjects.setdefault(scan.subject, []).append(scan)
    stamps = {
        key: stamp for scans in subjects.values() for key, stamp in _stamps(scans, preparation)
    }
    todo = [scan for scan in raw if not _is_done(scan, stamps[_key(scan)], out)]
    wanted: dict[str, dict[str, str]] = {}
    for scan in todo:
        wanted.setdefault(scan.subject, {})[scan.sequence] = stamps[_key(scan)]
    tasks = [(subjects[name], preparation, own, out) for name, own in wanted.items()]
    remove_leftovers(out)
    failures: Failures = []
    work = run_tasks(tasks, jobs)
    for _, found in track(work, description="preparing", total=len(tasks)):
        failures += found
    # In the order of the list, whichever process was done first.
    order = {name: i for i, name in enumerate(subjects)}
    failures.sort(key=lambda failure: order[failure[0]])
    records: Records = {}
    for scan in raw:
        # A record of other files or parameters is of a scan that failed this time.
        if _is_done(scan, stamps[_key(scan)], out):
            records[_key(scan)] = _read(scan, out)
    levels, bad = fitted(raw, records, normalise, out)
    failures += bad + write_normalised(raw, records, levels, out)
    normalised = [scan for scan in raw if "scan" in records.get(_key(scan), {})]
    if isinstance(preparation, Preparation) and (atlas := preparation.load_atlas()):
        compared = [records[_key(scan)] for scan in normalised]
        failures += compare_with_mirror(compared, atlas, out, limits.cohort_subjects)
    copies = copies_of(normalised)
    done: list[RawScan] = []
    scans: list[Scan] = []
    flags: dict[str, list[str]] = {}
    for scan in normalised:
        record = records[_key(scan)]
        if "scan" not in record:
            continue
        with guarded(failures, scan.subject, scan.image):
            said = [*limits.flags(record["quality"]), *copies.get(_key(scan), ())]
            scans.append(_scan(scan, record, out))
            done.append(scan)
            if said:
                flags["_".join(_key(scan))] = said
    _write_failures(failures, out)
    if not done:
        reason = failures[0][1] if failures else "no scan"
        raise InputError(f"{source}: no scan could be prepared; the first: {reason}")
    info = {
        "name": source.stem,
        "source": str(source),
        "recipe": {
            "steps": recipe_of(preparation),
            "normalise": {name: recipe_of(how) for name, how in levels.items()},
            "limits": recipe_of(limits),
        },
        "flags": flags,
        "failures": failures,
        **({"spaces": list(spaces)} if spaces else {}),
    }
    return write_cohort(out, scans, info)


def _task(
    scans: list[RawScan],
    preparation: Preparation | SlicePreparation,
    wanted: dict[str, str],
    out: Path,
) -> Failures:
    """One subject's sequences that are `wanted`, with the stamps of their records.

    Records are written last, so that a scan that has one is whole.
    """
    # One thread a process: the sums of a registration then come in one order, every time.
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    failures: Failures = []
    with guarded(failures, scans[0].subject, scans[0].image):
        records, failed = prepare_subject(scans, preparation, out, wanted)
        failures += failed
        for record in records:
            path = out / "scans" / f"{record['subject']}_{record['sequence']}.json"
            write_json(path, {**record, "stamp": wanted[record["sequence"]]})
    return failures


Task = tuple[list[RawScan], Preparation | SlicePreparation, dict[str, str], Path]


def run_tasks(tasks: list[Task], jobs: int) -> Iterator[tuple[Task, Failures]]:
    """Prepares subjects up to normalisation, and yields each as it is done.

    Args:
        tasks: scans of one subject, the chain, the stamps of the sequences wanted, and the folder.
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
            yield task, [(task[0][0].subject, f"{image}: {reason}")]


def _pooled(tasks: list[Task], jobs: int) -> Generator[tuple[Task, Failures], None, list[Task]]:
    """Yields each task's failures; returns the tasks that a killed process left undone."""
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
            # Where this process is told to end, those that wait are not begun.
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


def _scan(scan: RawScan, record: dict[str, Any], out: Path) -> Scan:
    # The label of a 2D image is a NIfTI of ours.
    own = record.get("native_lesion_mask")
    label = out / own if own else scan.lesion_mask
    return Scan(
        subject=scan.subject,
        sequence=scan.sequence,
        image=out / record["scan"],
        brain_mask=out / record["brain_mask"],
        lesion_mask=out / record["lesion_mask"] if record["lesion_mask"] else None,
        healthy=scan.healthy,
        split=scan.split,
        site=scan.site,
        pathology=scan.pathology,
        native_image=Path(record["native_image"]).absolute(),
        native_lesion_mask=label.absolute() if label else None,
        transform=out / record["transform"] if record["transform"] else None,
        warp=out / record["warp"] if record["warp"] else None,
        person=record.get("person", ""),
    )


def read_record(cohort: Cohort, scan: Scan) -> dict[str, Any]:
    """What was done to a scan of a prepared cohort."""
    found: dict[str, Any] = read_json(record_path(scan, cohort.root), "prepare the cohort again")
    return found


def record_of(cohort: Cohort, scan: Scan) -> dict[str, Any]:
    """What was done to a scan, its first channel; empty where the cohort keeps no record."""
    first = scan.rows[0]
    return read_record(cohort, first) if record_path(first, cohort.root).is_file() else {}


def _read(scan: RawScan, out: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(record_path(scan, out), "delete it and prepare it again")
    return found


def _is_done(scan: RawScan, stamp: str, out: Path) -> bool:
    """Whether the scan was prepared from these files in this way and is still there."""
    try:
        record = _read(scan, out)
    except InputError:
        # Not there or damaged: it is made anew.
        return False
    kept = [record.get(key) for key in ("image", "brain_mask", "lesion_mask", "transform", "warp")]
    kept += [record.get("native_lesion_mask")]
    files = [name for name in kept if name]
    return record.get("stamp") == stamp and all((out / name).is_file() for name in files)


def _stamps(
    scans: list[RawScan], preparation: Preparation | SlicePreparation
) -> Iterator[tuple[tuple[str, str], str]]:
    """Of each scan: its row, its files' and the template's sizes and times, its reference's, and
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
        yield _key(scan), digest.hexdigest()


def _key(scan: RawScan) -> tuple[str, str]:
    return scan.subject, scan.sequence


def _write_failures(failures: Failures, out: Path) -> None:
    write_csv(out / "failures.csv", [("subject", "reason"), *failures])

"""Prepared scans to predict, one after the other."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from brainuad.cohorts.manifest import Cohort, Scan
from brainuad.cohorts.scans import RawScan
from brainuad.inference.find_scans import Wanted
from brainuad.machine.failures import Failures
from brainuad.machine.files import remove
from brainuad.model.prepared_scan import PreparedScan, from_cohort, from_records
from brainuad.preparation.cohort import Task, run_tasks
from brainuad.preparation.pipeline import Preparation
from brainuad.preparation.records import read_record, record_path
from brainuad.preparation.slices import SlicePreparation
from brainuad.records.recipe import Recipe

Ready = Iterator[tuple[Wanted, PreparedScan | str]]
"""Each scan as it is prepared, or the reason why it cannot be prepared."""


def prepare_wanted(
    todo: Sequence[Wanted],
    steps: Preparation | SlicePreparation,
    recipe: Recipe,
    work: Path,
    jobs: int,
) -> Ready:
    """Prepare raw scans; while one is predicted, `jobs` processes prepare the next ones.

    The files of a scan are removed when the next is asked for.

    Args:
        todo: raw scans, all of one sequence or of the same channels.
        steps: steps of `recipe`.
        recipe: the preparation, see `brainuad.preparation.recipes`.
        work: temporary folder of the caller.
        jobs: number of processes.
    """
    items, tasks = {}, []
    for item in todo:
        if item.lacking:
            yield item, item.lacking
            continue
        raw = [scan for scan in item.scans if isinstance(scan, RawScan)]
        items[item.scan_id] = item
        task: Task = (raw, steps, {scan.sequence: "" for scan in raw}, work / item.scan_id)
        tasks.append(task)
    for (scans, *_, folder), failures in run_tasks(tasks, jobs):
        found: PreparedScan | None = None
        if not failures:
            with failures.catching(folder.name, scans[0].image):
                records = [read_record(record_path(scan, folder)) for scan in scans]
                found = from_records(records, folder, recipe)
        yield items[folder.name], found or failures[0][1]
        remove(folder)


def read_wanted(todo: Sequence[Wanted], cohort: Cohort, recipe: Recipe) -> Ready:
    """Read scans of a prepared cohort folder.

    Args:
        todo: scans of the cohort.
        cohort: their cohort.
        recipe: preparation of the cohort.
    """
    for item in todo:
        assert isinstance(item.scan, Scan)
        if item.lacking:
            yield item, item.lacking
            continue
        found, failures = None, Failures()
        with failures.catching(item.scan_id, item.scan.image):
            found = from_cohort(item.scan, cohort, recipe)
        yield item, found or failures[0][1]

"""What a method sees of a scan: its intensities, or tissue maps made of them.

Controls, scores and pictures keep the intensities; only training and detection see the input.
"""

import hashlib
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

from rich.progress import track

from brainuad.cohorts.manifest import Scan
from brainuad.errors import InputError
from brainuad.machine.files import lock
from brainuad.machine.threads import one_thread
from brainuad.preparation.tissue.segment import TissueInput
from brainuad.volumes.nifti import read_mask, read_volume, write_volume

VERSION = 2
"""Of what `segment_tissues` finds: kept maps of another version are made anew."""

Failures = list[tuple[str, str]]


def as_input(
    scans: Sequence[Scan], tissue: TissueInput | None, cache_dir: Path, jobs: int = 1
) -> tuple[tuple[Scan, ...], Failures]:
    """The scans with `image` replaced by what the method sees.

    Args:
        scans: prepared.
        tissue: how tissue maps are made; None for intensities, the scans as they are.
        cache_dir: tissue maps are kept in `tissue/` there and found again by the scan's files and
            the parameters; a second call makes only what is missing.
        jobs: processes.

    Returns:
        The scans, less those that failed, and (subject, reason) of these.
    """
    if tissue is None:
        return tuple(scans), []
    tasks = [(scan, tissue, _target(scan, tissue, Path(cache_dir))) for scan in scans]
    failures: Failures = []
    with lock(Path(cache_dir) / "tissue"):
        todo = [task for task in tasks if not task[2].is_file()]
        for scan, reason in track(_run(todo, jobs), description="tissue maps", total=len(todo)):
            if reason is not None:
                failures.append((scan.subject, reason))
    made = tuple(replace(scan, image=target) for scan, _, target in tasks if target.is_file())
    return made, failures


def _run(
    tasks: list[tuple[Scan, TissueInput, Path]], jobs: int
) -> Iterator[tuple[Scan, str | None]]:
    if jobs <= 1 or len(tasks) <= 1:
        yield from map(_make, tasks)
        return
    # A fresh interpreter each: torch does not survive a fork with its threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=one_thread) as pool:
        yield from pool.map(_make, tasks)


def _make(task: tuple[Scan, TissueInput, Path]) -> tuple[Scan, str | None]:
    """Writes one tissue map; the reason where that was not possible."""
    scan, tissue, target = task
    try:
        volume = read_volume(scan.image)
        brain_mask = read_mask(scan.brain_mask, like=volume)
        found = tissue.of(volume.array, brain_mask, volume.spacing_mm)
    except (InputError, ValueError) as error:
        return scan, f"{scan.image}: no tissue map ({error}); look at the scan"
    write_volume(target, found, volume.affine)
    return scan, None


def _target(scan: Scan, tissue: TissueInput, cache_dir: Path) -> Path:
    digest = hashlib.sha256(repr((VERSION, tissue)).encode())
    for path in (scan.image, scan.brain_mask):
        stat = path.stat() if path.is_file() else None
        digest.update(
            repr((str(path.absolute()), stat and (stat.st_size, stat.st_mtime_ns))).encode()
        )
    name = f"{scan.subject}_{scan.sequence}_{digest.hexdigest()[:12]}.nii.gz"
    return cache_dir / "tissue" / name

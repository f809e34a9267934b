"""Input of a method: the cohort's intensities, others, or tissue maps.

`input` of a configuration and of a card says which. Training and detection make it by the same
function, `made`. Controls, scores and pictures keep the cohort's intensities.
"""

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from brainuad.cohorts.manifest import Scan
from brainuad.errors import InputError
from brainuad.machine.failures import Failures
from brainuad.machine.fingerprint import fingerprint
from brainuad.machine.locks import lock
from brainuad.machine.threads import one_thread
from brainuad.preparation.normalise.intensity import Normalise
from brainuad.preparation.records import record_at
from brainuad.preparation.tissue.segment import TissueInput
from brainuad.settings.build import build
from brainuad.settings.instantiate import instantiate
from brainuad.types import Volume
from brainuad.volumes.nifti import read_mask, read_volume, write_volume

VERSION = 2
"""Version of the kept files. Those of another version are made anew."""


@dataclass(frozen=True)
class NormalisedInput:
    """Intensities in place of the cohort's own, made of the image before these were.

    Args:
        by: the normaliser.
    """

    by: Normalise

    def of(
        self, image: np.ndarray, brain_mask: np.ndarray, spacing_mm: tuple[float, float, float]
    ) -> np.ndarray:
        """`(D, H, W)` image and mask to float32, 0 outside the brain; may exceed 1.

        Raises:
            ValueError: raised by the normaliser.
        """
        return self.by(image, brain_mask)


ModelInput = TissueInput | NormalisedInput


def input_of(settings: Mapping[str, Any], own: bool = False) -> ModelInput | None:
    """Return the input that a configuration or a card describes; None for the cohort's intensities.

    Args:
        settings: `tissue`, the configuration of a `TissueInput`, and `normalise`, that of a
            normaliser. Each may be None, and cards of older versions lack the second.
        own: whether they are the user's, and not a card's, which a stranger may have written.

    Raises:
        InputError: both are given, or one names foreign code.
    """
    tissue, normalise = settings.get("tissue"), settings.get("normalise")
    if tissue is not None and normalise is not None:
        raise InputError("input: tissue maps have no intensities; set input.normalise=null")
    if normalise is None:
        return instantiate(tissue) if own else build(tissue, kind=TissueInput | None)
    return NormalisedInput(instantiate(normalise) if own else build(normalise, kind=Normalise))


def made(how: ModelInput, image: Path, brain_mask: Path) -> Volume:
    """Return the input of a method for one prepared image, float32 on its grid.

    Tissue maps are made of the prepared image. A normalisation is made of the image before the
    cohort's own normalisation, which `brainuad-prepare` keeps in `work/`; where the image has no
    such record beside it, as in the embedded cohort, in cohorts made elsewhere and of painted
    copies, of the image as it is.

    Raises:
        InputError: a file is missing or unreadable, or nothing can be made of it.
    """
    source = unnormalised(image) if isinstance(how, NormalisedInput) else image
    volume = read_volume(source)
    try:
        inside = read_mask(brain_mask, like=volume)
        return Volume(how.of(volume.array, inside, volume.spacing_mm), volume.affine)
    except ValueError as error:
        kind = "input" if isinstance(how, NormalisedInput) else "tissue map"
        raise InputError(f"{image}: no {kind} ({error}); look at the scan") from None


def unnormalised(image: Path) -> Path:
    """Return the prepared image before normalisation; the image itself without a record.

    Raises:
        InputError: the record names a file that is not there.
    """
    record = record_at(image.with_name(image.name.removesuffix(".nii.gz") + ".json"))
    known = record.normalised if record is not None else None
    if record is None or known is None or Path(known.image).name != image.name:
        return image
    found = image.parents[1] / record.image
    if not found.is_file():
        raise InputError(
            f"{found}: no such file, and this model's intensities are made of it; prepare the "
            "cohort again, or train with input=intensity"
        )
    return found


def as_input(
    scans: Sequence[Scan], how: ModelInput | None, cache_dir: Path, jobs: int = 1
) -> tuple[tuple[Scan, ...], Failures]:
    """Return the scans with the `view` that a method has of each.

    Args:
        scans: prepared.
        how: result of `input_of`; None for the scans as they are.
        cache_dir: folder; files are kept in `tissue/` or `normalised/` there and found again by the
            scan's files and the parameters; a second call makes only what is missing.
        jobs: processes.

    Returns:
        The scans, less those that failed, and (subject, reason) of these.
    """
    if how is None:
        return tuple(scans), Failures()
    folder = Path(cache_dir) / ("tissue" if isinstance(how, TissueInput) else "normalised")
    failures = Failures()
    targets: dict[Scan, Path] = {}
    for scan in scans:
        with failures.catching(scan.subject):
            targets |= {row: _target(row, how, folder) for row in scan.rows}
    with lock(folder):
        todo = [(row, how, target) for row, target in targets.items() if not target.is_file()]
        for bad in track(_run(todo, jobs), description="what is seen", total=len(todo)):
            failures += bad
    done = {row: target for row, target in targets.items() if target.is_file()}
    seen = [
        replace(scan, view=tuple(done[row] for row in scan.rows))
        for scan in scans
        if all(row in done for row in scan.rows)
    ]
    return tuple(seen), failures


Task = tuple[Scan, ModelInput, Path]


def _run(tasks: list[Task], jobs: int) -> Iterator[Failures]:
    if jobs <= 1 or len(tasks) <= 1:
        yield from map(_make, tasks)
        return
    # A fresh interpreter each: torch does not survive a fork with its threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=one_thread) as pool:
        yield from pool.map(_make, tasks)


def _make(task: Task) -> Failures:
    """Write what is seen of one scan."""
    scan, how, target = task
    failures = Failures()
    with failures.catching(scan.subject):
        found = made(how, scan.image, scan.brain_mask)
        write_volume(target, found.array, found.affine)
    return failures


def _target(scan: Scan, how: ModelInput, folder: Path) -> Path:
    """Return the path of a kept file, by the parameters and the files that it is made of."""
    source = unnormalised(scan.image) if isinstance(how, NormalisedInput) else scan.image
    key = fingerprint(VERSION, how, source, scan.brain_mask)
    return folder / f"{scan.subject}_{scan.sequence}_{key}.nii.gz"

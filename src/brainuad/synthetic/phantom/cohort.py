"""Writes the embedded cohort as a cohort folder like any other."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from brainuad.cohorts.manifest import Cohort, Scan, write_cohort
from brainuad.machine.files import write_json
from brainuad.machine.links import follow_no_links
from brainuad.machine.read import read_json
from brainuad.machine.threads import one_thread
from brainuad.synthetic.phantom.contrast import SEQUENCES
from brainuad.synthetic.phantom.subject import make_subject
from brainuad.volumes.nifti import write_volume


@dataclass(frozen=True)
class _Plan:
    """Plan of a subject: its name, split and pathology."""

    subject: str
    split: str
    pathology: str | None


def write_phantom_cohort(
    out: Path,
    *,
    seed: int = 0,
    spacing_mm: float = 2.0,
    sequences: Sequence[str] = SEQUENCES,
    train: int = 28,
    val: int = 6,
    test: int = 6,
    tumour: int = 8,
    ms: int = 8,
    stroke: int = 8,
    jobs: int = 1,
    limit: int | None = None,
) -> Cohort:
    """Make every subject and, last, the manifest; a subject that is there already is kept.

    Args:
        out: cohort folder.
        seed: random seed of every subject, independent of the number of `jobs` or subjects.
        spacing_mm: edge length of the voxels in mm.
        sequences: some of `T1w`, `T2w`, `FLAIR`.
        train: healthy training subjects.
        val: healthy validation subjects.
        test: healthy test subjects.
        tumour: pathological test subjects with a tumour.
        ms: number of subjects with multiple sclerosis.
        stroke: number of subjects with a stroke.
        jobs: processes.
        limit: largest number of each kind; None for no limit.
    """
    from rich.progress import track

    follow_no_links(Path(out))
    counts = {
        "train": train,
        "val": val,
        "test": test,
        "tumour": tumour,
        "ms": ms,
        "stroke": stroke,
    }
    plans = [
        _Plan(f"{kind}{i:03d}", kind if kind in ("train", "val") else "test", _pathology(kind))
        for kind, count in counts.items()
        for i in range(count if limit is None else min(count, limit))
    ]
    make = partial(
        _write_subject, out=Path(out), seed=seed, spacing_mm=spacing_mm, sequences=tuple(sequences)
    )
    title = f"making {len(plans)} phantoms"
    if jobs > 1:
        # Spawned, because forking after torch has started its threads may hang.
        context = get_context("spawn")
        with ProcessPoolExecutor(jobs, mp_context=context, initializer=one_thread) as pool:
            made = list(track(pool.map(make, plans), description=title, total=len(plans)))
    else:
        made = list(track(map(make, plans), description=title, total=len(plans)))
    info = {
        "name": "phantom",
        "generator": "brainuad.synthetic.phantom",
        "seed": seed,
        "spacing_mm": spacing_mm,
        "sequences": list(sequences),
        "subjects": counts,
        "limit": limit,
        "steps": ["synthesis", "percentile normalise 1-99.9 in brain"],
        "versions": {name: version(name) for name in ("nilearn", "numpy", "scipy")},
    }
    return write_cohort(Path(out), [scan for scans in made for scan in scans], info)


def _pathology(kind: str) -> str | None:
    return kind if kind in ("tumour", "ms", "stroke") else None


def _write_subject(
    plan: _Plan, out: Path, seed: int, spacing_mm: float, sequences: tuple[str, ...]
) -> list[Scan]:
    name, sick = plan.subject, plan.pathology is not None
    record = out / "scans" / f"{name}.json"
    recipe = {"seed": seed, "spacing_mm": spacing_mm, "sequences": list(sequences)}
    contrast = _read_record(record, recipe)
    if contrast is None:
        made = make_subject(
            name, seed=seed, spacing_mm=spacing_mm, sequences=sequences, pathology=plan.pathology
        )
        write_volume(out / f"masks/{name}_brain.nii.gz", made.brain_mask, made.affine, np.uint8)
        if sick:
            lesion = made.lesion_mask
            write_volume(out / f"masks/{name}_lesion.nii.gz", lesion, made.affine, np.uint8)
        for sequence in sequences:
            file = f"{name}_{sequence}.nii.gz"
            write_volume(out / "scans" / file, made.images[sequence], made.affine)
            if sick:
                write_volume(out / "twins" / file, made.twins[sequence], made.affine)
        contrast = made.contrast if sick else {}
        # The record comes last, so a subject that has one is whole.
        write_json(record, {**recipe, "contrast": contrast})
    return [
        Scan(
            subject=name,
            sequence=sequence,
            image=out / "scans" / f"{name}_{sequence}.nii.gz",
            brain_mask=out / f"masks/{name}_brain.nii.gz",
            healthy=not sick,
            split=plan.split,
            lesion_mask=out / f"masks/{name}_lesion.nii.gz" if sick else None,
            site="phantom",
            pathology=plan.pathology or "",
            contrast=contrast.get(sequence),
            twin=out / "twins" / f"{name}_{sequence}.nii.gz" if sick else None,
        )
        for sequence in sequences
    ]


def _read_record(path: Path, recipe: dict[str, Any]) -> dict[str, float] | None:
    """The contrasts of a subject that was made before in the same way; None to make it."""
    if not path.is_file():
        return None
    record = read_json(path, "delete it")
    return record["contrast"] if recipe.items() <= record.items() else None

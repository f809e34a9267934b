"""A cohort drawn from a bank of anatomies, written as a cohort folder like any other."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from brainuad.cohorts.manifest import MANIFEST, Cohort, Scan, read_cohort, write_cohort
from brainuad.errors import InputError
from brainuad.machine.files import write_json
from brainuad.machine.fingerprint import short_hash
from brainuad.machine.locks import lock
from brainuad.machine.read import read_json
from brainuad.synthetic.anatomies.bank import Bank, read_bank
from brainuad.synthetic.anatomies.contrast import FREE, SEQUENCES
from brainuad.synthetic.twins import lesion_contrast, scaled_alike

PATHOLOGIES = ("ms", "wmh", "stroke", "tumour")
HELD_OUT = 2
"""Anatomies of the validation, and as many of the test."""


def split_names(names: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Return the anatomies of training, validation and test: the last ones are held back.

    Raises:
        InputError: too few anatomies.
    """
    if len(names) < 2 * HELD_OUT + 1:
        raise InputError(
            f"a bank of {len(names)} anatomies; {2 * HELD_OUT + 1} or more are needed, because "
            f"{HELD_OUT} are kept for validation and {HELD_OUT} for the test"
        )
    ordered = sorted(names)
    return ordered[: -2 * HELD_OUT], ordered[-2 * HELD_OUT : -HELD_OUT], ordered[-HELD_OUT:]


def given_bank(bank: Path | None) -> Bank:
    """Return the bank that a run was given.

    Raises:
        InputError: none, or a damaged one.
    """
    if bank is None:
        raise InputError(
            "data.bank is not set; make a bank with python -m data_prep anatomies, and set "
            "data=anatomies data.bank=FOLDER"
        )
    return read_bank(Path(bank))


def require_known(sequences: Sequence[str]) -> None:
    """Refuse a sequence that is not synthesised.

    Raises:
        InputError: with those that are.
    """
    known = (*SEQUENCES, FREE)
    for sequence in sequences:
        if sequence not in known:
            raise InputError(
                f"data.sequence: {sequence} is not synthesised; use one of {', '.join(known)}"
            )


def anatomies_cohort(
    bank: Path | None,
    cache_dir: Path,
    sequences: Sequence[str] = SEQUENCES[:3],
    seed: int = 0,
    train: int = 24,
    val: int = 6,
    test: int = 6,
    sick: int = 6,
    limit: int | None = None,
) -> Cohort:
    """The cohort, made at the first call and found by bank and parameters after.

    Args:
        bank: folder that `python -m data_prep anatomies` made.
        cache_dir: folder of cohorts.
        sequences: some of `contrast.SEQUENCES`; `free` for any contrast.
        seed: random seed of all scans.
        train: healthy training subjects.
        val: healthy validation subjects, of other anatomies.
        test: healthy test subjects, of others again.
        sick: test subjects of each of `PATHOLOGIES`.
        limit: largest number of each kind; None for no limit.

    Raises:
        InputError: no bank, a damaged one, or one of too few anatomies; an unknown sequence.
    """
    require_known(sequences)
    found = given_bank(bank)
    counts = {"train": train, "val": val, "test": test, **dict.fromkeys(PATHOLOGIES, sick)}
    if limit is not None:
        counts = {kind: min(count, limit) for kind, count in counts.items()}
    recipe = {
        "bank": short_hash(dict(found.info)),
        "sequences": list(sequences),
        "seed": seed,
        **counts,
    }
    out = Path(cache_dir) / "cohorts" / f"anatomies-{short_hash(recipe)}"
    with lock(out):
        if not (out / MANIFEST).is_file():
            _write(out, found, recipe, counts)
    return read_cohort(out)


@dataclass(frozen=True)
class _Plan:
    """A subject to make."""

    subject: str
    split: str
    disease: str
    names: tuple[str, ...]
    seeds: tuple[int, ...]


def _write(out: Path, bank: Bank, recipe: dict[str, Any], counts: dict[str, int]) -> None:
    from rich.progress import track

    of_split = dict(zip(("train", "val", "test"), split_names(bank.names), strict=True))
    plans = []
    for number, (kind, count) in enumerate(counts.items()):
        split = kind if kind in of_split else "test"
        disease = "none" if kind in of_split else kind
        for index in range(count):
            seeds = (recipe["seed"], number, index)
            names = tuple(of_split[split])
            plans.append(_Plan(f"{kind}{index:03d}", split, disease, names, seeds))
    scans = []
    for plan in track(plans, description=f"making {len(plans)} heads"):
        scans += _subject(out, bank, plan, recipe["sequences"])
    info = {
        "name": "anatomies",
        "generator": "brainuad.synthetic.anatomies",
        **recipe,
        "steps": ["synthesis", "percentile normalise 1-99.9 in brain"],
    }
    write_cohort(out, scans, info)


def _subject(out: Path, bank: Bank, plan: _Plan, sequences: Sequence[str]) -> list[Scan]:
    """Write a subject's files, its record last; one that is there already is kept."""
    from brainuad.synthetic.anatomies.scan import ScanGenerator
    from brainuad.volumes.nifti import write_volume

    name, sick = plan.subject, plan.disease != "none"
    record = out / "scans" / f"{name}.json"
    if not record.is_file():
        generator = ScanGenerator(bank, names=plan.names)
        anatomy = generator.anatomy(*plan.seeds)
        affine = bank.affine()
        contrast = {}
        for sequence in sequences:
            scan = generator.scan(anatomy, *plan.seeds, sequence=sequence, disease=plan.disease)
            inside, lesion = scan.brain_mask.numpy(), scan.lesion.numpy()
            image, twin = scaled_alike(scan.image.numpy(), scan.healthy.numpy(), inside)
            file = f"{name}_{sequence}.nii.gz"
            write_volume(out / "scans" / file, image, affine)
            write_volume(
                out / "masks" / f"{name}_{sequence}_brain.nii.gz", inside, affine, np.uint8
            )
            if sick:
                write_volume(out / "twins" / file, twin, affine)
                path = out / "masks" / f"{name}_{sequence}_lesion.nii.gz"
                write_volume(path, lesion, affine, np.uint8)
                contrast[sequence] = lesion_contrast(image, twin, lesion, inside)
        write_json(record, {"contrast": contrast})
    contrast = read_json(record, "delete it")["contrast"]
    masks = out / "masks"
    return [
        Scan(
            subject=name,
            sequence=sequence,
            image=out / "scans" / f"{name}_{sequence}.nii.gz",
            brain_mask=masks / f"{name}_{sequence}_brain.nii.gz",
            healthy=not sick,
            split=plan.split,
            lesion_mask=masks / f"{name}_{sequence}_lesion.nii.gz" if sick else None,
            site="anatomies",
            pathology=plan.disease if sick else "",
            contrast=contrast.get(sequence),
            twin=out / "twins" / f"{name}_{sequence}.nii.gz" if sick else None,
        )
        for sequence in sequences
    ]

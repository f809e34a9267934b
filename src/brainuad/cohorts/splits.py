"""Splits of subjects into train, val and test."""

import random
from collections.abc import Sequence
from dataclasses import replace

from brainuad.cohorts.copies import one_person
from brainuad.cohorts.manifest import Scan
from brainuad.cohorts.scans import RawScan
from brainuad.errors import InputError


def assign_splits(
    scans: Sequence[RawScan],
    seed: int,
    val_fraction: float,
    test_fraction: float,
    folds: int = 1,
    fold: int = 0,
) -> list[RawScan]:
    """Draw the splits that are not given: pathological subjects to test, healthy ones by share.

    The unit is the person, and people whose files have the same content are one
    (`brainuad.cohorts.copies`). Within each site and set of sequences the shares are kept as well
    as whole subjects allow. With two healthy subjects or more, one at least is for validation.

    Args:
        scans: as found.
        seed: random seed.
        val_fraction: share of the healthy subjects; of no effect with several folds.
        test_fraction: share of the healthy subjects.
        folds: k of a k-fold cross-validation: the healthy subjects outside `test` are dealt into
            k parts, one of which is `val`; the test subjects are the same in every fold.
        fold: which part is `val`, 0 to k - 1.

    Raises:
        InputError: `fold` is not below `folds`, there are fewer healthy subjects than folds, or
            files of the same content are given two splits.
    """
    if folds > 1 and not 0 <= fold < folds:
        raise InputError(f"fold is {fold}; with folds={folds} use 0 to {folds - 1}")
    unit = one_person(scans)
    sick = {unit[scan.who] for scan in scans if not scan.healthy}
    given = _given(scans, unit)
    drawn = sorted(set(unit.values()) - set(given) - sick)
    random.Random(seed).shuffle(drawn)
    # Dealing subjects of a kind one after the other gives every part its share of each.
    kinds: dict[str, tuple[str, ...]] = {}
    of_subject: dict[str, list[RawScan]] = {}
    for scan in scans:
        of_subject.setdefault(unit[scan.who], []).append(scan)
    for subject in drawn:
        own = of_subject[subject]
        kinds[subject] = (own[0].site, *sorted(scan.sequence for scan in own))
    if len(set(kinds.values())) > 1:
        drawn = _interleaved(drawn, kinds)
    val = max(1, round(val_fraction * len(drawn))) if len(drawn) > 1 else 0
    test = min(round(test_fraction * len(drawn)), max(len(drawn) - val - 1, 0))
    splits = dict.fromkeys(drawn, "train")
    if folds > 1:
        # Dealt out kind by kind, so that every part gets its share of each.
        rest = sorted(drawn[test:], key=lambda subject: kinds[subject])
        if len(rest) < folds:
            raise InputError(f"folds is {folds}, but only {len(rest)} healthy subjects are left")
        splits |= dict.fromkeys(drawn[:test], "test") | dict.fromkeys(rest[fold::folds], "val")
    else:
        splits |= dict.fromkeys(drawn[:val], "val") | dict.fromkeys(drawn[val : val + test], "test")
    splits |= dict.fromkeys(sick, "test") | given
    # A row's own split stays, so that the manifest's check sees a subject in two of them.
    return [replace(scan, split=scan.split or splits[unit[scan.who]]) for scan in scans]


def _given(scans: Sequence[RawScan], unit: dict[str, str]) -> dict[str, str]:
    """The splits that rows give, by the first subject of those with the same files.

    Raises:
        InputError: two subjects with the same file are given two splits.
    """
    found: dict[str, RawScan] = {}
    for scan in scans:
        if not scan.split:
            continue
        other = found.setdefault(unit[scan.who], scan)
        if other.who != scan.who and other.split != scan.split:
            raise InputError(
                f"{scan.image}: has the same content as {other.image}, but {scan.who} is in "
                f"split '{scan.split}' and {other.who} in '{other.split}'; give both one "
                "split, or leave one out"
            )
    return {subject: scan.split for subject, scan in found.items()}


def _interleaved(subjects: list[str], kinds: dict[str, tuple[str, ...]]) -> list[str]:
    """An order in which every stretch holds the kinds in their overall proportions."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for subject in subjects:
        groups.setdefault(kinds[subject], []).append(subject)
    placed = [
        ((i + 0.5) / len(group), number, subject)
        for number, group in enumerate(groups.values())
        for i, subject in enumerate(group)
    ]
    return [subject for *_, subject in sorted(placed)]


def planned_scan(scan: RawScan) -> Scan:
    """Return the row that a raw scan will have in the manifest, for checks before the work."""
    return Scan(
        subject=scan.subject,
        sequence=scan.sequence,
        image=scan.image,
        brain_mask=scan.image,
        healthy=scan.healthy,
        split=scan.split,
        person=scan.who if scan.who != scan.subject else "",
    )

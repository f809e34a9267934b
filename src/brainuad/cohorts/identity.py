"""Identification of one person's records."""

from collections.abc import Collection, Mapping, Sequence

from brainuad.cohorts.groups import group_of
from brainuad.cohorts.names import file_name
from brainuad.cohorts.people import PersonKey
from brainuad.cohorts.records import Record
from brainuad.errors import InputError

Key = tuple[PersonKey, tuple[str, tuple[PersonKey, ...]]]
"""Key of a person: the name and the folders around it."""


def key_of(record: Record) -> Key:
    """Distinction between people of the same name."""
    return record.person, record.place


def name_people(scans: Sequence[Record], every: bool) -> dict[Key, str]:
    """Give each person one name.

    People of one name in `controls` and in `patients` are two, and are called by the folder too.

    Args:
        scans: scans in natural order.
        every: whether people of one name in folders of unknown meaning are no question.

    Raises:
        InputError: two folders hold scans of one name, which may be one person or two.
    """
    people: dict[PersonKey, dict[Key, Record]] = {}
    for record in scans:
        people.setdefault(record.person, {}).setdefault(key_of(record), record)
    names: dict[Key, str] = {}
    if not every:
        _refuse_two_numbers(scans)
    for keys in people.values():
        first, *others = keys.values()
        subject = first.subject or "subject"
        if not others:
            names[key_of(first)] = subject
            continue
        if not every and not _told_apart(list(keys.values())):
            raise InputError(
                f"{others[0].path}: is this the person of {first.path}? Nothing tells; give two "
                "people two names, or list the scans in a CSV"
            )
        for key, record in keys.items():
            around = [part for part in (record.group, *record.context) if part]
            names[key] = file_name("_".join([*around, record.subject or "subject"]))
    taken: set[str] = set()
    for key, name in names.items():
        number, own = 2, name
        while own in taken:
            own, number = f"{name[:100]}-{number}", number + 1
        names[key] = own
        taken.add(own)
    return names


def _told_apart(records: Collection[Record]) -> bool:
    """Return whether the folders name different people: one a control, one a patient."""
    groups = [record.group.casefold() for record in records]
    kinds = {group_of(group) for group in groups}
    return all(groups) and len(set(groups)) == len(groups) and "control" in kinds


def owners(mask: Record, people: Mapping[PersonKey, Sequence[Key]]) -> list[Key]:
    """The people whose a mask may be: those of its name, and of its folders where there are more.

    Args:
        mask: mask of a lesion or a brain.
        people: who have scans, by their names.
    """
    named = list(people.get(mask.person, ()))
    if len(named) < 2:
        return named
    group, context = mask.place
    same = [key for key in named if key[1] == mask.place]
    if not same:
        # `masks/a/01` and `scans/a/01` share `a`.
        same = [k for k in named if set(k[1][1]) <= set(context) and k[1][0] in ("", group)]
    return same or named


def _refuse_two_numbers(scans: Sequence[Record]) -> None:
    """Refuse `1` beside `01`; `P1` beside `p-1` is one person.

    Raises:
        InputError: both spellings occur.
    """
    first: dict[tuple[PersonKey, object], Record] = {}
    for record in scans:
        other = first.setdefault((record.person, record.place), record)
        if _letters(other.subject) != _letters(record.subject):
            raise InputError(
                f"{record.path}: is subject '{record.subject}' the '{other.subject}' of "
                f"{other.path}? Spell one person's name in one way, or list the scans in a CSV"
            )


def _letters(subject: str) -> str:
    return "".join(c for c in subject.casefold() if c.isalnum())

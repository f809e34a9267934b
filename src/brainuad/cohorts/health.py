"""Who of a tree's people is healthy: by labels, by folders, by names and by `participants.tsv`."""

from collections.abc import Collection, Sequence
from pathlib import Path

from brainuad.cohorts.groups import DISEASES, group_of
from brainuad.cohorts.identity import Key, key_of
from brainuad.cohorts.people import PersonKey, read_participants
from brainuad.cohorts.records import Record, folder_group
from brainuad.cohorts.scans import Found
from brainuad.cohorts.tree import Tree
from brainuad.cohorts.words import words_of

PARTICIPANTS = "participants.tsv"


def ill_people(
    scans: Sequence[Record],
    labelled: Collection[Key],
    people: dict[PersonKey, tuple[bool, str]],
    root: Path,
) -> dict[Key, str]:
    """People who are not healthy, with the name of what they have where one is told."""
    ill: dict[Key, str] = dict.fromkeys(labelled, "")
    inside = {scan.path: list(scan.path.relative_to(root).parents)[:-1] for scan in scans}
    # Beside `controls` lie those who are none.
    beside = {
        folder.parent
        for folders in inside.values()
        for folder in folders
        if folder_group(folder.name) == "control"
    }
    # People may be called `patient01` and `control01`.
    called = {scan.subject: group_of(scan.subject) for scan in scans}
    both = set(called.values()) >= {"control", "patient"}
    for scan in scans:
        key = key_of(scan)
        folder = next((one for one in inside[scan.path] if one.parent in beside), None)
        other = folder is not None and folder_group(folder.name) != "control"
        other = other or (both and called[scan.subject] == "patient")
        if other or group_of(scan.group) == "patient" or scan.group == "lesion":
            words = {word.text for word in words_of(scan.group)}
            ill[key] = ill.get(key) or (scan.group if words & DISEASES else "")
        told, name = people.get(scan.person, (False, ""))
        if told:
            disease = {word.text for word in words_of(name)} & DISEASES
            ill[key] = ill.get(key) or (name if disease else "")
    return ill


def participants(tree: Tree, used: set[Path], found: Found) -> dict[PersonKey, tuple[bool, str]]:
    """Who is ill by the tables at the top of the tree and of the dataset in it."""
    people: dict[PersonKey, tuple[bool, str]] = {}
    for table in (path for path in tree.files if path.name.casefold() == PARTICIPANTS):
        if len(table.relative_to(tree.root).parts) <= 2:
            told, notes = read_participants(table)
            people |= told
            found.notes += notes
            if told:
                used.add(table)
    return people

"""Whose a mask is: of which person, which visit, which sequence."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from brainuad.cohorts.content import BRAIN_ML, content_of, same_grid
from brainuad.cohorts.doubt import UNKNOWN
from brainuad.cohorts.identity import Key, key_of, owners
from brainuad.cohorts.people import PersonKey, person_key
from brainuad.cohorts.records import Record
from brainuad.cohorts.tree import Aside
from brainuad.cohorts.words import loosened, role_of

_NATIVE = ("", "orig", "native", "individual", "scanner", "raw")
"""Spaces of BIDS names that are a scan's own."""

_LEFT = {
    "map": "a map, and no scan",
    "tissue": "a segmentation of tissues or regions",
    "no lesion": "a mask of something else than a lesion or a brain",
}


_UNKNOWN = "a label map, and its name does not tell of what; call it _lesion or _brain_mask"


@dataclass
class Pairs:
    """Masks by the scan that they belong to.

    Attributes:
        brain: scan's file to its brain mask.
        lesion: scan's file to its lesion label.
        ill: people who have a lesion label at any visit, of any sequence.
        aside: masks that are not used.
    """

    brain: dict[Path, Path] = field(default_factory=dict)
    lesion: dict[Path, Path] = field(default_factory=dict)
    ill: set[Key] = field(default_factory=set)
    aside: list[Aside] = field(default_factory=list)


def sort_out(
    records: Iterable[Record],
) -> tuple[list[Record], list[tuple[Record, str]], list[Aside]]:
    """Separate scans, masks and other files, by their content if the name is ambiguous.

    Returns:
        Scans; masks, each with `lesion`, `brain mask` or `lesion map`; what is none of them.
    """
    scans: list[Record] = []
    masks: list[tuple[Record, str]] = []
    aside: list[Aside] = []
    for record in records:
        role = record.role
        if role in ("brain", "mask"):
            role, reason = _looked_at(record)
            if reason:
                aside.append(Aside(record.path, reason, wanted=True))
                continue
        if role == UNKNOWN:
            aside.append(Aside(record.path, _UNKNOWN, wanted=True))
        elif role == "map" and role_of(loosened(record.name.told)) == "lesion":
            masks.append((record, "lesion map"))
        elif role in _LEFT:
            aside.append(Aside(record.path, _LEFT[role]))
        elif role:
            masks.append((record, role))
        else:
            scans.append(record)
    return scans, masks, aside


def _looked_at(record: Record) -> tuple[str, str]:
    """The role by the content, or the reason why there is none."""
    content = content_of(record.path)
    if record.role == "brain":
        # `T1_brain` is the brain's image, and some write so of its mask.
        return ("brain mask" if content.kind in ("mask", "share") else ""), ""
    if content.kind == "empty":
        return (
            "",
            "an empty mask, and its name does not tell of what; call it _lesion or _brain_mask",
        )
    if content.kind == "scan":
        return "", ""
    if content.kind == "unreadable":
        return "", "cannot be read; copy or export it again"
    if content.millilitres < BRAIN_ML:
        return "lesion", ""
    return ("tissue" if content.kind == "labels" else "brain mask"), ""


def pair(scans: Sequence[Record], taken: set[Path], masks: Sequence[tuple[Record, str]]) -> Pairs:
    """Find the scans that masks belong to.

    A brain mask or a label without a sequence in its name belongs to all scans of the person's
    visit; one with a sequence to that alone.

    Args:
        scans: all there are.
        taken: files of those that are used.
        masks: each with its role.
    """
    found = Pairs()
    people: dict[Key, list[Record]] = {}
    for scan in scans:
        people.setdefault(key_of(scan), []).append(scan)
    named: dict[PersonKey, list[Key]] = {}
    for key in people:
        named.setdefault(key[0], []).append(key)
    claims: dict[tuple[Path, str], list[Record]] = {}
    for mask, role in masks:
        own = owners(mask, named)
        if role.startswith("lesion"):
            # Whose it is may be open; none of them is healthy then.
            found.ill.update(own)
        fits, aside = _fitting(mask, role, own, people, taken)
        found.aside += aside
        for scan in fits:
            claims.setdefault((scan.path, role), []).append(mask)
    by_path = {scan.path: scan for scan in scans}
    left: dict[Path, Aside] = {}
    for (path, role), rivals in claims.items():
        best, others = _nearest(by_path[path], role, rivals)
        left |= {aside.path: aside for aside in others}
        if best is not None:
            (found.lesion if role == "lesion" else found.brain)[path] = best
    used = {*found.lesion.values(), *found.brain.values()}
    found.aside += [aside for path, aside in left.items() if path not in used]
    return found


def _fitting(
    mask: Record, role: str, own: Sequence[Key], people: dict[Key, list[Record]], taken: set[Path]
) -> tuple[list[Record], list[Aside]]:
    """The scans in use that a mask fits, or the reason why there are none."""
    what = "lesion label" if role == "lesion" else role
    if role == "lesion map":
        return [], [Aside(mask.path, "a map of lesions, and no label")]
    if len(own) != 1:
        whose = "several people, and nothing tells which" if own else "nobody"
        reason = f"a {what} of {whose}; name it as its scan is named, or take it away"
        return [], [Aside(mask.path, reason, wanted=True)]
    scans = people[own[0]]
    visits = {_visit(scan) for scan in scans}
    keys = {key for scan in scans for key in scan.name.entities}
    fits = [scan for scan in scans if not _unlike(mask, scan, visits, keys)]
    used = [scan for scan in fits if scan.path in taken]
    if used:
        return used, []
    reason = "a scan that is not used" if fits else _unlike(mask, scans[0], visits, keys)
    return [], [Aside(mask.path, f"a {what} of {reason}")]


def _nearest(scan: Record, role: str, masks: Sequence[Record]) -> tuple[Path | None, list[Aside]]:
    """The mask that is nearest to a scan by its name and on its grid, and the others."""
    first, *others = ranked = sorted(masks, key=lambda mask: _distance(mask, scan))
    if role == "brain mask":
        near = [
            m for m in ranked if m.path.parent == scan.path.parent or same_grid(m.path, scan.path)
        ]
        far = [m for m in ranked if m not in near]
        left = [Aside(m.path, "a brain mask on another grid than its scan") for m in far]
        left += [Aside(m.path, "another brain mask of the scan") for m in near[1:]]
        return (near[0].path if near else None), left
    left = []
    for mask in others:
        even = _distance(mask, scan) == _distance(first, scan)
        said = f"a second lesion label beside {first.path.name}; keep one, or list them in a CSV"
        reason = said if even else f"{first.path.name} is nearer to the scan's name"
        left.append(Aside(mask.path, reason, wanted=even))
    return first.path, left


def _unlike(
    mask: Record, scan: Record, visits: Collection[PersonKey], keys: Collection[str]
) -> str:
    """Return why a mask does not belong to a scan of the same person; empty where it does.

    Args:
        mask: mask of a lesion or a brain.
        scan: scan of the person.
        visits: visits of all the person's scans.
        keys: keys of the entities in all their names.
    """
    if mask.session:
        # Where no scan's name tells a visit, there is one.
        told = bool(mask.name.entities.get("ses")) or visits != {()}
        if told and _visit(mask) != _visit(scan):
            return f"another visit ({mask.session})"
    elif scan.session and len(visits) > 1:
        return "a visit that its name does not tell"
    if mask.sequence and mask.sequence != scan.sequence:
        return f"another sequence ({mask.sequence})"
    space = mask.name.entities.get("space", "")
    if space != scan.name.entities.get("space", "") and space.casefold() not in (
        *_NATIVE,
        scan.sequence.casefold(),
        scan.sequence.casefold().removesuffix("w"),
    ):
        return f"another space ({space})"
    for key in ("run", "acq", "rec", "ce"):
        one, two = (record.name.entities.get(key) for record in (mask, scan))
        alone = two is None and key not in keys
        if one and not alone and person_key(one) != person_key(two or ""):
            return f"another {key} ({one})"
    return ""


def _visit(record: Record) -> PersonKey:
    return person_key(record.session) if record.session else ()


def _distance(mask: Record, scan: Record) -> tuple[bool, bool, bool, int]:
    """Return the distance of a mask's name from its scan's."""
    space = mask.name.entities.get("space", "")
    return (
        mask.path.parent != scan.path.parent,
        not mask.sequence and space.casefold() != scan.sequence.casefold(),
        not mask.session,
        -len(mask.name.entities.keys() & scan.name.entities.keys()),
    )

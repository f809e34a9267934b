"""Choice among several images of one person and sequence."""

from collections.abc import Sequence

from brainuad.cohorts.identity import Key, key_of
from brainuad.cohorts.records import Record
from brainuad.cohorts.tree import Aside, natural
from brainuad.cohorts.words import role_of
from brainuad.errors import InputError


def choose(
    scans: Sequence[Record], names: dict[Key, str], every: bool, extracted: bool
) -> tuple[list[Record], list[Aside]]:
    """Take one scan per person and sequence, of the first visit; or every scan.

    Of several versions of an image, such as `T1` and `T1_brain`, one is taken in either case.

    Args:
        scans: scans in natural order.
        names: names of the people.
        every: also further visits, runs and acquisitions.
        extracted: whether brains without a skull are wanted.

    Raises:
        InputError: two images of a person, visit and sequence without a difference.
    """
    groups: dict[Key, dict[str, dict[str, list[Record]]]] = {}
    for scan in scans:
        visits = groups.setdefault(key_of(scan), {})
        visits.setdefault(scan.session, {}).setdefault(scan.sequence, []).append(scan)
    taken: set[int] = set()
    aside: list[Aside] = []
    for key, visits in groups.items():
        first = min(visits, key=_in_time)
        for visit, sequences in visits.items():
            if visit != first and not every:
                reason = f"a further visit ({visit}) of {names[key]}"
                if not first:
                    reason = f"a visit ({visit}) of {names[key]} beside a scan without one"
                question = _may_be_people(names[key], visit)
                further = [record for records in sequences.values() for record in records]
                aside += [Aside(record.path, reason, wanted=question) for record in further]
                continue
            for sequence, records in sequences.items():
                used, left = _of_one_kind(records, every, extracted)
                if len(used) > 1 and not every:
                    what = "series" if used[0].path.is_dir() else "scan"
                    raise InputError(
                        f"{used[1].path}: a second {sequence or 'unnamed'} {what} of subject "
                        f"{names[key]} beside {used[0].path}; list the scans in a CSV instead"
                    )
                taken |= {id(record) for record in used}
                aside += left
    return [scan for scan in scans if id(scan) in taken], aside


def _of_one_kind(
    records: list[Record], every: bool, extracted: bool
) -> tuple[list[Record], list[Aside]]:
    """The scans to use of one visit and sequence, and the others with the reason."""
    if len(records) == 1:
        return records, []
    if all(record.name.subject.startswith("sub-") for record in records):
        if every:
            return records, []
        best, *others = sorted(records, key=_plainness)
        reason = f"another run or acquisition; {best.path.name} is used"
        return [best], [Aside(record.path, reason) for record in others]
    pool = records
    if extracted and (brains := [r for r in records if role_of(r.name.version) == "brain"]):
        pool = brains
    plainest = min(pool, key=lambda record: len(record.name.version))
    version = set(plainest.name.version)
    if all(
        record is plainest or _is_version(record, version, plainest) or record not in pool
        for record in records
    ):
        reason = f"another version of {plainest.path.name}, which is used"
        return [plainest], [Aside(r.path, reason) for r in records if r is not plainest]
    return records, []


def _plainness(record: Record) -> tuple[int, list[object], str]:
    """The order of BIDS names: those with the fewest entities, then run 2 before run 10."""
    own = {key: value for key, value in record.name.entities.items() if key not in ("ses", "run")}
    return len(own), list(natural(record.name.entities.get("run", ""))), record.path.name


def _is_version(record: Record, version: set[str], plainest: Record) -> bool:
    """Return whether a name is a version of the same image, in one folder or of the brain."""
    more = set(record.name.version) - version
    near = record.path.parent == plainest.path.parent or role_of(more) == "brain"
    return bool(more) and version <= set(record.name.version) and near


_FIRST = ("baseline", "bl", "initial", "screening", "preop", "acute", "t0", "m00", "y0", "w0")


def _in_time(visit: str) -> tuple[bool, list[tuple[bool, int, str]]]:
    """The order of visits: none, the first by its name, then by numbers."""
    plain = visit.casefold().removeprefix("ses-")
    return bool(visit) and plain not in _FIRST, natural(visit)


def _may_be_people(name: str, visit: str) -> bool:
    """Return whether `MS_19800101` and `MS_19800102` may be two people: a group's or short name."""
    told = ("ses", "visit", "time", "baseline", "bl", "follow", "pre", "post", "initial", "t0")
    return name.isalpha() and len(name) <= 5 and not visit.casefold().startswith(told)

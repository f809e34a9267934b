"""Several sequences of one subject as the channels of one scan: `data.sequence=[T1w,FLAIR]`."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from brainuad.cohorts.manifest import Cohort, Scan, joined
from brainuad.cohorts.scans import RawScan
from brainuad.cohorts.words import canonical
from brainuad.errors import InputError

_Row = TypeVar("_Row", RawScan, Scan)


def by_subject(
    scans: Iterable[_Row], sequences: Sequence[str]
) -> Iterator[tuple[tuple[_Row, ...], str]]:
    """Yield the scans of each subject that has one of the sequences, in their order.

    Args:
        scans: prepared or raw.
        sequences: channels of a model.

    Yields:
        The subject's scans of these sequences, and the reason why they are not one scan each; it
        is empty where they are.

    Raises:
        InputError: a sequence is named twice.
    """
    sequences = [canonical(sequence) for sequence in sequences]
    if len(set(sequences)) < len(sequences):
        raise InputError(f"data.sequence is {list(sequences)}; name each sequence once")
    subjects: dict[str, list[_Row]] = {}
    for scan in scans:
        if canonical(scan.sequence) in sequences:
            subjects.setdefault(scan.subject, []).append(scan)
    for rows in subjects.values():
        rows.sort(key=lambda scan: sequences.index(canonical(scan.sequence)))
        counts = {
            name: sum(canonical(scan.sequence) == name for scan in rows) for name in sequences
        }
        wrong = [f"{count or 'no'} {name}" for name, count in counts.items() if count != 1]
        remedy = "add it, or use fewer sequences"
        if max(counts.values()) > 1:
            remedy = "list one scan per sequence in a CSV"
        said = f"has {' and '.join(wrong)} scan, where the channels are {joined(sequences)}; "
        yield tuple(rows), said + remedy if wrong else ""


def combined(rows: Sequence[Scan]) -> Scan:
    """Return one scan with the rows of a subject's sequences as its channels.

    Files and facts are the first row's; the scan is healthy where all of the rows are.
    """
    name = joined([row.sequence for row in rows])
    healthy = all(row.healthy for row in rows)
    return replace(rows[0], sequence=name, healthy=healthy, channels=tuple(rows))


def with_channels(cohort: Cohort, sequence: str | Sequence[str]) -> Cohort:
    """Return the cohort with a scan of several channels for each subject that has them all.

    The other rows stay. A subject that lacks a sequence is among the failures of `cohort.record`.

    Args:
        cohort: any.
        sequence: one name, which leaves the cohort as it is, or the channels in their order.
    """
    if isinstance(sequence, str) or len(sequence) == 1:
        return cohort
    found = list(by_subject(cohort.scans, sequence))
    scans = [combined(rows) for rows, reason in found if not reason]
    lacking = [(rows[0].subject, reason) for rows, reason in found if reason]
    failures = [*cohort.record.failures, *lacking]
    return Cohort(cohort.root, (*cohort.scans, *scans), {**cohort.info, "failures": failures})

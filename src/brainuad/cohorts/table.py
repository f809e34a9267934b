"""Table of scans, one row per scan, in any dialect of a spreadsheet."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from brainuad.cohorts.content import BRAIN_ML, content_of
from brainuad.cohorts.filename import stem_of
from brainuad.cohorts.groups import DISEASES
from brainuad.cohorts.names import file_name
from brainuad.cohorts.people import is_ill, person_key, refuse_two_spellings, truth
from brainuad.cohorts.records import read_alone
from brainuad.cohorts.rows import TableRow, scans_of_rows
from brainuad.cohorts.scans import Found, RawScan
from brainuad.cohorts.words import NOBODY, PLAIN, canonical, sequence_of, words_of
from brainuad.errors import InputError
from brainuad.volumes.plane_files import TAKEN_BY, is_plane_file


def from_table(source: Path, sequence: str, every: bool = False) -> Found:
    """List the scans of a table.

    A column `image` is needed; every other field of `RawScan` may be one, under other names too
    (`brainuad.cohorts.columns`). Paths are relative to the table. Unknown columns are left aside
    and named.

    Args:
        source: `.csv` or `.tsv`.
        sequence: sequence of a scan for which neither the row nor the file's name states it.
        every: whether several scans of a subject are no question, and a name may be spelled twice.

    Raises:
        InputError: no column `image`, a value that cannot be understood, or two that contradict
            one another.
    """
    said_healthy: set[tuple[str, ...]] = set()

    def made(row: TableRow, found: Found) -> RawScan:
        scan = _scan(row, found)
        if not every and scan.split == "train" and not scan.healthy:
            raise InputError(
                f"{scan.subject} is not healthy (by its pathology or label) but in split 'train'; "
                "move it to test"
            )
        if truth(row.text("healthy")):
            said_healthy.add(person_key(scan.subject))
        return scan

    found = scans_of_rows(source, "scan", sequence, made)
    if not every:
        refuse_two_spellings([scan.subject for scan in found.scans], source)
        _refuse_shared(found.scans, source)
    found.scans = _by_person(found.scans, said_healthy, source, every)
    return found


def _scan(row: TableRow, found: Found) -> RawScan:
    """Return the scan of a row; its sequence is empty if unknown."""
    image = row.image
    if is_plane_file(image.name):
        raise InputError(f"{image.name} is a 2D image, no volume of a head; {TAKEN_BY}")
    brain, label = row.file("brain_mask"), row.file("lesion_mask")
    mask_column = row.columns.taken.get("lesion_mask", "").split("_")[0] == "mask"
    if label is not None and brain is None and mask_column:
        # A column `mask` may hold the brain's.
        content = content_of(label)
        if content.kind in ("mask", "share") and content.millilitres >= BRAIN_ML:
            brain, label = label, None
    record = read_alone(image)
    sequence = _sequence(row.text("sequence")) or record.sequence
    if record.sequence and sequence != record.sequence and record.sequence in PLAIN.values():
        found.notes.append(f"{row.where}: {image.name} is listed as {sequence}")
    subject = row.text("subject") or record.subject or file_name(stem_of(image))
    healthy, pathology = _health(row, label)
    if is_ill(record.group) and not row.text("healthy"):
        healthy = False
    return RawScan(
        subject=subject,
        sequence=sequence,
        image=image,
        healthy=healthy,
        brain_mask=brain,
        lesion_mask=label,
        split=row.split,
        site=row.text("site"),
        pathology=pathology,
    )


def _health(row: TableRow, label: Path | None) -> tuple[bool, str]:
    """Return whether the row's person is healthy, and the pathology; empty for `control`."""
    said, pathology = row.text("healthy"), row.text("pathology")
    pathology = "" if pathology.casefold() in NOBODY else pathology
    ill = is_ill(pathology)
    if pathology and ill is not False:
        ill = True
    elif ill is False:
        pathology = ""
    for other, name in row.told:
        ill = other if ill is None else ill or other
        words = {word.text for word in words_of(name)}
        pathology = pathology or (name if other and words & DISEASES else "")
    healthy = truth(said)
    if healthy is None and said:
        meant = is_ill(said)
        if meant is None:
            raise InputError(
                f"healthy is '{said}'; write true or false (yes, no, 1, 0, patient and "
                "control are understood too)"
            )
        healthy = not meant
    if healthy and ill:
        raise InputError(
            f"healthy is '{said}', but the row calls the person "
            f"'{pathology or 'a patient'}'; one of them is wrong"
        )
    if healthy and label is not None and content_of(label).kind in ("mask", "labels", "share"):
        raise InputError(f"healthy is '{said}', but {label} marks a lesion; one of them is wrong")
    if healthy is None:
        healthy = not ill and label is None
    return healthy, pathology


def _by_person(
    scans: Sequence[RawScan], said_healthy: set[tuple[str, ...]], source: Path, every: bool
) -> list[RawScan]:
    """The scans with one health a person: who is ill in one row is so in all."""
    ill = {person_key(scan.subject): scan for scan in scans if not scan.healthy}
    for key in (one for one in ill if one in said_healthy):
        raise InputError(
            f"{source}: subject {ill[key].subject} is healthy in one row and not in another; "
            "mend the rows"
        )
    for scan in scans:
        if not every and scan.split == "train" and person_key(scan.subject) in ill:
            raise InputError(
                f"{source}: subject {scan.subject} is not healthy in another row but in split "
                "'train'; move it to test"
            )
    return [
        replace(scan, healthy=scan.healthy and person_key(scan.subject) not in ill)
        for scan in scans
    ]


def _refuse_shared(scans: Sequence[RawScan], source: Path) -> None:
    """Refuse a file that is listed for two people."""
    owner: dict[Path, RawScan] = {}
    for scan in scans:
        for path in (scan.image, scan.lesion_mask):
            if path is None:
                continue
            other = owner.setdefault(path, scan)
            if person_key(other.subject) != person_key(scan.subject):
                raise InputError(
                    f"{source}: {path.name} is listed for subjects {other.subject} and "
                    f"{scan.subject}; mend one of the rows"
                )


def _sequence(text: str) -> str:
    """Our name of what a row calls a sequence; other names stay as they are."""
    if text.casefold() in ("mr", "mri", "mrt", "irm"):
        return ""
    plain = canonical(text)
    return plain if plain in PLAIN.values() else sequence_of(text) or plain

"""A list of scans in a table: a row a scan, in whatever dialect the spreadsheet wrote."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from brainuad.cohorts.columns import columns_of
from brainuad.cohorts.content import BRAIN_ML, content_of
from brainuad.cohorts.filename import stem_of
from brainuad.cohorts.groups import DISEASES
from brainuad.cohorts.names import file_name
from brainuad.cohorts.people import is_ill, person_key, refuse_two_spellings, truth
from brainuad.cohorts.records import read_alone
from brainuad.cohorts.scans import Found, RawScan
from brainuad.cohorts.tree import is_there
from brainuad.cohorts.words import NOBODY, PLAIN, canonical, sequence_of, words_of
from brainuad.errors import InputError
from brainuad.machine.read import read_table
from brainuad.volumes.plane_files import TAKEN_BY, is_plane_file

TABLES = (".csv", ".tsv", ".txt")
SPLITS = {
    **{"tr": "train", "training": "train", "ts": "test", "testing": "test"},
    **{"validation": "val", "valid": "val", "dev": "val"},
}


def from_table(source: Path, sequence: str, every: bool = False) -> Found:
    """List the scans of a table.

    A column `image` is needed; every other field of `RawScan` may be one, under other names too
    (`brainuad.cohorts.columns`). Paths are relative to the table. Columns that nobody knows are
    left aside and named.

    Args:
        source: `.csv` or `.tsv`.
        sequence: what a scan is of which neither the row nor the file's name tells.
        every: whether several scans of a subject are no question, and a name may be spelled twice.

    Raises:
        InputError: no column `image`, a value that cannot be understood, or two that contradict
            one another.
    """
    header, rows = read_table(source)
    columns = columns_of(source, header, rows)
    found = Found("a table of scans")
    if columns.unknown:
        found.notes.append(f"columns left aside: {', '.join(columns.unknown)}")
    # Of a column `mask` the name does not tell of what.
    open_masks = {known for known, name in columns.taken.items() if "mask" in name.split("_")[:1]}
    said_healthy: set[tuple[str, ...]] = set()
    for line, row in enumerate(rows, start=2):
        if not any(value.strip() for value in row.values()):
            continue
        where = f"{source} line {line}"
        cells = {known: cell_of(known, row[name]) for known, name in columns.taken.items()}
        told = [(ill[row[name].strip()], row[name].strip()) for name, ill in columns.health.items()]
        try:
            scan = _scan(cells, told, source.parent, where, found, open_masks)
            if not every and scan.split == "train" and not scan.healthy:
                raise InputError(
                    f"{where}: {scan.subject} is not healthy (by its pathology or label) but in "
                    "split 'train'; move it to test"
                )
        except InputError as error:
            said = str(error)
            raise InputError(said if said.startswith(where) else f"{where}: {said}") from None
        if truth(cells.get("healthy", "")):
            said_healthy.add(person_key(scan.subject))
        if not scan.sequence:
            scan = replace(scan, sequence=sequence)
            found.assumed.add(scan.image)
        found.scans.append(scan)
    if not found.scans:
        raise InputError(f"{source}: lists no scan; add a row a scan, with its file in 'image'")
    if not every:
        refuse_two_spellings([scan.subject for scan in found.scans], source)
        _refuse_shared(found.scans, source)
    found.scans = _by_person(found.scans, said_healthy, source, every)
    return found


def _scan(
    cells: dict[str, str],
    told: Sequence[tuple[bool | None, str]],
    folder: Path,
    where: str,
    found: Found,
    mask_columns: Collection[str],
) -> RawScan:
    """The scan of a row; its sequence is empty where nothing tells it."""
    if not cells["image"]:
        raise InputError(f"{where}: column image is empty; fill it in")
    image = file_of(folder, cells["image"])
    if is_plane_file(image.name):
        raise InputError(f"{where}: {image.name} is a 2D image, no volume of a head; {TAKEN_BY}")
    brain = file_of(folder, cells["brain_mask"]) if cells.get("brain_mask") else None
    label = file_of(folder, cells["lesion_mask"]) if cells.get("lesion_mask") else None
    if label is not None and brain is None and "lesion_mask" in mask_columns:
        # A column `mask` may hold the brain's.
        content = content_of(label)
        if content.kind in ("mask", "share") and content.millilitres >= BRAIN_ML:
            brain, label = label, None
    record = read_alone(image)
    sequence = _sequence(cells.get("sequence", "")) or record.sequence
    if record.sequence and sequence != record.sequence and record.sequence in PLAIN.values():
        found.notes.append(f"{where}: {image.name} is listed as {sequence}")
    subject = cells.get("subject") or record.subject or file_name(stem_of(image))
    split = SPLITS.get(cells.get("split", "").casefold(), cells.get("split", "").casefold())
    healthy, pathology = _health(cells, told, label, where)
    if is_ill(record.group) and not cells.get("healthy"):
        healthy = False
    return RawScan(
        subject=subject,
        sequence=sequence,
        image=image,
        healthy=healthy,
        brain_mask=brain,
        lesion_mask=label,
        split=split,
        site=cells.get("site", ""),
        pathology=pathology,
    )


def _health(
    cells: dict[str, str],
    told: Sequence[tuple[bool | None, str]],
    label: Path | None,
    where: str,
) -> tuple[bool, str]:
    """Whether the row's person is healthy, and the pathology without words such as `control`."""
    said, pathology = cells.get("healthy", ""), cells.get("pathology", "")
    pathology = "" if pathology.casefold() in NOBODY else pathology
    ill = is_ill(pathology)
    if pathology and ill is not False:
        ill = True
    elif ill is False:
        pathology = ""
    for other, name in told:
        if other is not None:
            ill = other if ill is None else ill or other
            words = {word.text for word in words_of(name)}
            pathology = pathology or (name if other and words & DISEASES else "")
    healthy = truth(said)
    if healthy is None and said:
        meant = is_ill(said)
        if meant is None:
            raise InputError(
                f"{where}: healthy is '{said}'; write true or false (yes, no, 1, 0, patient and "
                "control are understood too)"
            )
        healthy = not meant
    if healthy and ill:
        raise InputError(
            f"{where}: healthy is '{said}', but the row calls the person "
            f"'{pathology or 'a patient'}'; one of them is wrong"
        )
    if healthy and label is not None and content_of(label).kind in ("mask", "labels", "share"):
        raise InputError(
            f"{where}: healthy is '{said}', but {label} marks a lesion; one of them is wrong"
        )
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


def file_of(folder: Path, text: str) -> Path:
    """A file of the table's; one that Windows wrote has other strokes."""
    path = folder / text
    turned = folder / text.replace("\\", "/")
    return turned if "\\" in text and not is_there(path) else path


def cell_of(column: str, text: str) -> str:
    """A cell without the words by which tables say nothing."""
    plain = text.strip()
    words = NOBODY if column in ("lesion_mask", "brain_mask", "split") else NOBODY - _SAID
    return "" if plain.casefold() in words else plain


_SAID = frozenset(["-", ".", "none", "unknown", "no", "nein", "non", "kein", "0", "?", "/", "--"])
"""What may be a value of some columns."""

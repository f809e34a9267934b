"""A list of scans in a table: a row a scan, in whatever dialect the spreadsheet wrote."""

from pathlib import Path

from brainuad.cohorts.content import content_of
from brainuad.cohorts.filename import read_name, stem_of
from brainuad.cohorts.names import file_name
from brainuad.cohorts.people import is_ill, refuse_two_spellings, truth
from brainuad.cohorts.scans import Found, RawScan
from brainuad.cohorts.words import NOBODY, canonical
from brainuad.errors import InputError
from brainuad.machine.read import read_table

TABLES = (".csv", ".tsv", ".txt")
COLUMNS = tuple(RawScan.__dataclass_fields__)
_ALSO = {"participant_id": "subject", "subject_id": "subject", "scan": "image", "path": "image",
         "file": "image", "modality": "sequence", "mask": "lesion_mask", "label": "lesion_mask",
         "lesion": "lesion_mask", "brain": "brain_mask"}  # fmt: skip
"""Other names of our columns."""

SPLITS = {"training": "train", "validation": "val", "valid": "val", "dev": "val", "testing": "test"}


def from_table(source: Path, sequence: str, every: bool = False) -> Found:
    """List the scans of a table.

    A column `image` is needed; every other field of `RawScan` may be one. Paths are relative to
    the table. Columns that nobody knows are left aside and named.

    Args:
        source: `.csv` or `.tsv`.
        sequence: what a scan is of which neither the row nor the file's name tells.
        every: whether several scans of a subject are no question, and a name may be spelled twice.

    Raises:
        InputError: no column `image`, a value that cannot be understood,
            or two that contradict one another.
    """
    header, rows = read_table(source)
    names = {name: _column(name) for name in header if name}
    # A column of ours by its own name goes before another's.
    own = {name for name, known in names.items() if name.strip().casefold() == known}
    taken = {known: name for name, known in names.items() if name not in own}
    taken |= {known: name for name, known in names.items() if name in own}
    taken = {known: name for known, name in taken.items() if known in COLUMNS}
    unknown = [name for name in header if name and name not in taken.values()]
    if "image" not in taken:
        raise InputError(
            f"{source}: unknown columns {unknown}; a column 'image' is needed, known are "
            f"{', '.join(COLUMNS)}"
        )
    found = Found("a table of scans")
    if unknown:
        found.notes.append(f"columns left aside: {', '.join(unknown)}")
    for line, row in enumerate(rows, start=2):
        cells = {known: _cell(row.get(name, "")) for known, name in taken.items()}
        if not any(value.strip() for value in row.values()):
            continue
        where = f"{source} line {line}"
        try:
            scan, assumed = _scan(cells, source.parent, sequence, where)
        except InputError as error:
            said = str(error)
            raise InputError(said if said.startswith(where) else f"{where}: {said}") from None
        found.scans.append(scan)
        if assumed:
            found.assumed.add(scan.image)
    if not found.scans:
        raise InputError(f"{source}: lists no scan; add a row a scan, with its file in 'image'")
    if not every:
        refuse_two_spellings([scan.subject for scan in found.scans], source)
    return found


def _scan(cells: dict[str, str], folder: Path, sequence: str, where: str) -> tuple[RawScan, bool]:
    if not cells["image"]:
        raise InputError(f"{where}: column image is empty; fill it in")
    paths = {
        key: folder / cells[key] if cells.get(key) else None
        for key in ("image", "brain_mask", "lesion_mask")
    }
    image = paths.pop("image")
    assert image is not None
    name = read_name(stem_of(image))
    told = canonical(cells.get("sequence", "")) or name.sequence
    subject = cells.get("subject") or file_name(name.subject or name.spare or stem_of(image))
    pathology, split = cells.get("pathology", ""), cells.get("split", "").casefold()
    healthy, pathology = _health(cells.get("healthy", ""), pathology, paths["lesion_mask"], where)
    if split in ("train", "training") and not healthy:
        raise InputError(
            f"{where}: {subject} is not healthy (by its pathology or label) but in split 'train'; "
            "move it to test"
        )
    scan = RawScan(
        subject=subject,
        sequence=told or sequence,
        image=image,
        healthy=healthy,
        split=SPLITS.get(split, split),
        site=cells.get("site", ""),
        pathology=pathology,
        **paths,
    )
    return scan, not told


def _health(said: str, pathology: str, label: Path | None, where: str) -> tuple[bool, str]:
    """Whether the row's person is healthy, and the pathology without words such as `control`."""
    pathology = "" if pathology.casefold() in NOBODY else pathology
    ill = is_ill(pathology)
    if pathology and ill is not False:
        ill = True
    elif ill is False:
        pathology = ""
    healthy = truth(said)
    if healthy is None and said:
        told = is_ill(said)
        if told is None:
            raise InputError(
                f"{where}: healthy is '{said}'; write true or false (yes, no, 1, 0, patient and "
                "control are understood too)"
            )
        healthy = not told
    if healthy and ill:
        raise InputError(
            f"{where}: healthy is '{said}' and the pathology '{pathology}'; one of them is wrong"
        )
    if healthy and label is not None and content_of(label).kind in ("mask", "labels", "share"):
        raise InputError(
            f"{where}: healthy is '{said}', but {label} marks a lesion; one of them is wrong"
        )
    if healthy is None:
        healthy = not ill and label is None
    return healthy, pathology


def _column(name: str) -> str:
    plain = name.strip().casefold().replace(" ", "_")
    return _ALSO.get(plain, plain)


def _cell(text: str) -> str:
    plain = text.strip()
    return "" if plain.casefold() in NOBODY - {"-", ".", "none", "unknown"} else plain

"""Finds the scans in a plain folder or a CSV list, before they are prepared."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from brainuad.cohorts.names import check_names, file_name
from brainuad.errors import InputError
from brainuad.machine.files import sizes
from brainuad.machine.read import read_table

SEQUENCES = {
    "t1": "T1w",
    "t1w": "T1w",
    "t1n": "T1w",
    "t1c": "T1c",
    "t1ce": "T1c",
    "t1gd": "T1c",
    "t1post": "T1c",
    "t2": "T2w",
    "t2w": "T2w",
    "flair": "FLAIR",
    "fla": "FLAIR",
    "t2f": "FLAIR",
    "pd": "PDw",
    "pdw": "PDw",
}
"""Names of sequences in file names (lower case) and what we call them."""

DEPTH = 32
"""Folders below the source that are looked into; people's are less deep than ten."""

_LESION = re.compile(r"(?:^|[_-])(?:lesions?(?:[_-]mask)?|seg|gold_standard|gt)$", re.IGNORECASE)
_BRAIN = re.compile(r"(?:^|[_-])(?:brain[_-]?mask|brain)$", re.IGNORECASE)
_SEQUENCE = re.compile(rf"^(.*?)[_-]?({'|'.join(SEQUENCES)})$", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class RawScan:
    """A brain-extracted scan as it came.

    Attributes:
        subject: a person.
        sequence: `T1w`, `T2w`, `FLAIR`, … .
        image: NIfTI, any axis order and spacing.
        brain_mask: on the grid of `image`; None to take what is not background.
        lesion_mask: on the grid of `image`; None when there is no label.
        healthy: no lesion.
        split: `train`, `val`, `test`, or empty to be drawn.
        site: where it was acquired.
        pathology: free text, for grouping the scores.
    """

    subject: str
    sequence: str
    image: Path
    healthy: bool
    brain_mask: Path | None = None
    lesion_mask: Path | None = None
    split: str = ""
    site: str = ""
    pathology: str = ""

    def __post_init__(self) -> None:
        """Refuse names that cannot name a file: a prepared scan's do."""
        check_names(self)


def file_stamp(scan: RawScan) -> str:
    """A scan's row, and its files' sizes and times."""
    row = {key: str(value) for key, value in asdict(scan).items() if key != "split"}
    paths = [path for path in (scan.image, scan.brain_mask, scan.lesion_mask) if path]
    return "\n".join([json.dumps(row, sort_keys=True), *sizes(paths)])


def find_scans(source: Path, sequence: str, every: bool = False) -> list[RawScan]:
    """Lists the scans of a folder (by file names) or of a CSV file (by columns).

    In a folder, `sub1_T1w.nii.gz` and `sub1/T1.nii.gz` are both subject `sub1`, sequence `T1w`;
    `sub1_lesion.nii.gz` (or `_seg`) and `sub1_brain_mask.nii.gz` are its masks. A scan without a
    lesion mask counts as healthy, unless a CSV says otherwise. A CSV has a column `image` and
    optionally every other field of `RawScan`; its paths are relative to the CSV.

    Args:
        source: folder or `.csv` file.
        sequence: what a scan is whose name or row does not tell.
        every: in a folder, also several scans of one subject and sequence.

    Raises:
        InputError: nothing there, or a row that cannot be understood.
    """
    if source.is_dir():
        scans = _from_folder(source, sequence, every)
    elif source.is_file() and source.suffix.lower() == ".csv":
        scans = _from_csv(source, sequence)
    else:
        raise InputError(f"{source}: neither a folder nor a .csv file; set data.source")
    if not scans:
        raise InputError(f"{source}: no .nii or .nii.gz scan found; check data.source")
    return scans


def named(stem: str, sequence: str) -> tuple[str, str]:
    """Subject and sequence of a file's name; the subject may be empty, as in `T1.nii.gz`.

    Args:
        stem: without its ending.
        sequence: where the name tells none.
    """
    match = _SEQUENCE.match(stem)
    subject, told = (match[1], SEQUENCES[match[2].lower()]) if match else (stem, sequence)
    return file_name(subject) if subject else "", told


def _from_folder(source: Path, sequence: str, every: bool) -> list[RawScan]:
    paths = sorted(
        path
        for path in (Path(*one) for one in below(source))
        if path.name.endswith((".nii", ".nii.gz")) and not path.name.startswith(".")
    )
    images: dict[tuple[str, str], Path] = {}
    more: list[tuple[tuple[str, str], Path]] = []
    brains: dict[str, Path] = {}
    lesions: dict[str, Path] = {}
    for path in paths:
        stem = stem_of(path)
        if match := _LESION.search(stem):
            lesions[_before(match) or _parent(path, source)] = path
        elif match := _BRAIN.search(stem):
            brains[_before(match) or _parent(path, source)] = path
        else:
            subject, found = named(stem, sequence)
            key = subject or _parent(path, source), found
            if key in images and not every:
                raise InputError(
                    f"{path}: a second {found} scan of subject {key[0]} beside {images[key]}; "
                    "list the scans in a CSV instead"
                )
            if key in images:
                more.append((key, path))
            images.setdefault(key, path)
    again = {key for key, _ in more}
    return [
        RawScan(
            subject=subject,
            sequence=found,
            image=path,
            healthy=subject not in lesions,
            # Which of several it belongs to, nobody knows.
            brain_mask=None if (subject, found) in again else brains.get(subject),
            lesion_mask=lesions.get(subject),
        )
        for (subject, found), path in [*images.items(), *more]
    ]


def _from_csv(source: Path, sequence: str) -> list[RawScan]:
    header, found = read_table(source)
    known = list(RawScan.__dataclass_fields__)
    unknown = [name for name in header if name not in known]
    if "image" not in header or unknown:
        raise InputError(
            f"{source}: unknown columns {unknown}; a column 'image' is needed, known are "
            f"{', '.join(known)}"
        )
    rows = [{key: text.strip() for key, text in row.items() if key in known} for row in found]
    scans = []
    for line, row in enumerate(rows, start=2):
        if not row["image"]:
            raise InputError(f"{source} line {line}: column image is empty; fill it in")
        healthy = row.get("healthy", "").lower()
        if healthy not in ("", "true", "false"):
            raise InputError(f"{source} line {line}: healthy is '{healthy}'; write true or false")
        image = source.parent / row["image"]
        paths = {
            name: source.parent / row[name] if row.get(name) else None
            for name in ("brain_mask", "lesion_mask")
        }
        try:
            scan = RawScan(
                subject=row.get("subject") or file_name(stem_of(image)),
                sequence=row.get("sequence") or sequence,
                image=image,
                healthy=healthy == "true" if healthy else paths["lesion_mask"] is None,
                split=row.get("split", ""),
                site=row.get("site", ""),
                pathology=row.get("pathology", ""),
                **paths,
            )
        except InputError as error:
            raise InputError(f"{source} line {line}: {error}") from None
        scans.append(scan)
    return scans


def below(folder: Path) -> Iterator[tuple[str, str]]:
    """Parent and name of each file and folder below a folder; lists each folder once.

    A link to a folder is among them, what lies behind it is not, nor what lies deeper than `DEPTH`.
    """
    depth = len(folder.parts)
    for where, folders, files in os.walk(folder):
        yield from ((where, name) for name in (*folders, *files))
        if len(Path(where).parts) - depth >= DEPTH:
            folders.clear()


def stem_of(path: Path) -> str:
    """A file's name without `.nii` or `.nii.gz`."""
    return path.name.removesuffix(".gz").removesuffix(".nii")


def _before(match: re.Match[str]) -> str:
    """The subject that a mask's name begins with; empty where it tells none."""
    before = match.string[: match.start()]
    return file_name(before) if before else ""


def _parent(path: Path, source: Path) -> str:
    return file_name(path.parent.name) if path.parent != source else "subject"

"""Rows of 2D slices for `data=slices`, and what the layouts of 2D benchmarks share."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from brainuad.cohorts.names import check_name
from brainuad.errors import InputError

from .layout import checked, natural

IMAGES = (".png", ".tif", ".tiff", ".jpg", ".jpeg")
"""Endings of the images that `data=slices` reads, NPY apart."""

OVERLAP = "drop leaves out the training slices of a person who is in another split too"
VAL = "10 moves every tenth training person to val, which the official split lacks"

_BRATS = re.compile(r"(?<!\d)\d{5}(?!\d)")


@dataclass(frozen=True)
class SliceRow:
    """One slice in one sequence; its fields are the columns that `data=slices` reads.

    Attributes:
        subject: name of the slice, unique per sequence.
        person: unit of the splits; several slices may share one.
        sequence: `T1w`, `T2w`, `FLAIR`, … .
        image: PNG, TIFF, JPEG or NPY.
        channel: index of the image in an NPY of several; None for a grey image.
        brain_mask: None to take what is not background.
        lesion_mask: None when there is no label in a file of its own.
        lesion_channel: index of the label in an NPY of several; None when there is none.
        healthy: no lesion in this slice; None to tell it from the label.
        split: `train`, `val`, `test`, or empty to be drawn by person.
        pathology: free text, for grouping the scores.
        site: site of the acquisition.
        pixel_mm: edge of a pixel in mm; None when not known.
    """

    subject: str
    person: str
    sequence: str
    image: Path
    channel: int | None = None
    brain_mask: Path | None = None
    lesion_mask: Path | None = None
    lesion_channel: int | None = None
    healthy: bool | None = None
    split: str = ""
    pathology: str = ""
    site: str = ""
    pixel_mm: float | None = None

    def __post_init__(self) -> None:
        """Refuse names that cannot name a file."""
        for what in ("subject", "person", "sequence"):
            check_name(getattr(self, what), what, self.image)


def child(folder: Path, *names: str) -> Path | None:
    """The folder of one of these names, in any case, within another; None when there is none.

    Raises:
        InputError: there are two.
    """
    wanted = {name.casefold() for name in names}
    if not folder.is_dir():
        return None
    found = sorted(p for p in folder.iterdir() if p.name.casefold() in wanted and p.is_dir())
    if len(found) > 1:
        raise InputError(f"{folder}: holds {found[0].name} and {found[1].name}; keep one of them")
    return found[0] if found else None


def images(folder: Path | None, endings: Sequence[str] = IMAGES) -> list[Path]:
    """Image files of a folder in natural order, hidden ones apart; none where it is None."""
    if folder is None:
        return []
    return sorted(
        (
            path
            for path in folder.iterdir()
            if path.suffix.lower() in endings and path.name[0] != "." and path.is_file()
        ),
        key=natural,
    )


def one(bases: Iterable[Path], root: Path, layout: str) -> Path:
    """The only folder of a list.

    Raises:
        InputError: there is none, or several.
    """
    found = sorted(set(bases))
    if not found:
        raise InputError(f"{root}: no slice of this data set found; expected {layout}")
    if len(found) > 1:
        raise InputError(f"{root}: holds {found[0]} and {found[1]}; give one of them")
    return found[0]


def brats_id(name: str) -> str | None:
    """The five digits by which BraTS names a case, if a file's name has them."""
    match = _BRATS.search(name)
    return match[0] if match else None


def finished(
    rows: Sequence[SliceRow], root: Path, layout: str, overlap: str = "", val: str = ""
) -> list[SliceRow]:
    """The rows, if there are any, no name is there twice, and nobody trained on is tested.

    Args:
        rows: rows of a whole set.
        root: folder of the slices.
        layout: expected layout.
        overlap: empty to refuse a person in train and another split, `drop` for `OVERLAP`.
        val: empty, or a number for `VAL`.

    Raises:
        InputError: otherwise, or a bad option.
    """
    if overlap not in ("", "drop"):
        raise InputError(f"overlap is {overlap!r}; write overlap=drop or leave it out")
    kept = checked(rows, root, layout)
    elsewhere = {row.person: row for row in kept if row.split in ("val", "test")}
    both = [row for row in kept if row.split == "train" and row.person in elsewhere]
    if both and not overlap:
        first, other = both[0], elsewhere[both[0].person]
        raise InputError(
            f"{first.image}: {first.person} is in train and, by {other.image}, in {other.split}; "
            "overlap=drop leaves the training slices of such people out"
        )
    dropped = {id(row) for row in both}
    return _with_val([row for row in kept if id(row) not in dropped], val)


def _with_val(rows: list[SliceRow], every: str) -> list[SliceRow]:
    if not every:
        return rows
    if not re.fullmatch(r"[1-9]\d{0,5}", every) or every == "1":
        raise InputError(f"val is {every!r}; write a whole number from 2, as in val=10")
    people = list(dict.fromkeys(row.person for row in rows if row.split == "train"))
    chosen = set(people[int(every) - 1 :: int(every)])
    if not chosen:
        raise InputError(f"val is {every}, but {len(people)} people are in train; take a smaller")
    return [
        replace(row, split="val") if row.split == "train" and row.person in chosen else row
        for row in rows
    ]

"""2D images of brains, and their rows in a table.

The unit of splits and of statistics is the person; several slices may share one. Health is said of
each slice: a tumour patient's slice without tumour is healthy here.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from brainuad.cohorts.filename import is_image
from brainuad.cohorts.names import check_name
from brainuad.cohorts.people import is_ill, truth
from brainuad.cohorts.rows import TableRow, scans_of_rows
from brainuad.cohorts.scans import Found, RawScan
from brainuad.cohorts.slice_names import sequence_in, subject_of
from brainuad.cohorts.words import NOBODY
from brainuad.errors import InputError
from brainuad.volumes.plane_files import is_plane_file

Number = TypeVar("Number", int, float)

_LIMITS_MM = (0.01, 50.0)
"""Smallest and largest edge length of a pixel of a head."""


@dataclass(frozen=True)
class RawSlice(RawScan):
    """A 2D image as it came; a row of the table.

    Attributes:
        subject: name of the slice, one for all its sequences.
        person: unit of splits and of statistics; empty where it is the subject.
        image: PNG, TIFF, JPEG, NPY, or a NIfTI of one plane.
        channel: channel of the image in an NPY of several (`brainuad.volumes.planes.read_plane`).
        lesion_channel: channel of the label in such an array.
        pixel_mm: edge length of a pixel.
    """

    person: str = ""
    channel: int | None = None
    lesion_channel: int | None = None
    pixel_mm: float = 1.0

    def __post_init__(self) -> None:
        """Refuse names that cannot name a file, and pixels that no head has."""
        super().__post_init__()
        if self.person:
            check_name(self.person, "person", self.image)
        # Not `pixel_mm < low`: NaN is outside, too.
        if not _LIMITS_MM[0] <= self.pixel_mm <= _LIMITS_MM[1]:
            raise InputError(
                f"{self.image}: pixel_mm is {self.pixel_mm:g}; give the edge of a pixel in mm, "
                f"{_LIMITS_MM[0]:g} to {_LIMITS_MM[1]:g}"
            )

    @property
    def who(self) -> str:
        """The person."""
        return self.person or self.subject


COLUMNS = tuple(RawSlice.__dataclass_fields__)


def is_slice_file(name: str) -> bool:
    """Return whether a file's name ends as those of slices do; a NIfTI file may hold one."""
    return is_plane_file(name) or is_image(name)


def slices_of_table(source: Path, sequence: str, pixel_mm: float) -> Found:
    """List the slices of a table; see `brainuad.cohorts.find_slices`."""
    empty: dict[tuple[Path, int | None], bool] = {}

    def made(row: TableRow, found: Found) -> RawSlice:
        return _slice(row, pixel_mm, empty)

    return scans_of_rows(source, "slice", sequence, made, COLUMNS, is_slice_file)


def _slice(row: TableRow, pixel_mm: float, empty: dict[tuple[Path, int | None], bool]) -> RawSlice:
    """Return the slice of a row; its sequence is empty if unknown."""
    image, label = row.image, row.file("lesion_mask")
    channel = _number(row, "channel", int)
    lesion_channel = _number(row, "lesion_channel", int)
    if label is None and lesion_channel is not None:
        label = image
    pathology = row.text("pathology")
    pathology = "" if pathology.casefold() in NOBODY or is_ill(pathology) is False else pathology
    stem = image.name.partition(".")[0]
    size = _number(row, "pixel_mm", float)
    one = RawSlice(
        subject=row.text("subject") or subject_of(stem),
        sequence=row.text("sequence") or sequence_in(stem),
        image=image,
        healthy=True,
        brain_mask=row.file("brain_mask"),
        lesion_mask=label,
        split=row.split,
        site=row.text("site"),
        pathology=pathology,
        person=row.text("person"),
        channel=channel,
        lesion_channel=lesion_channel,
        pixel_mm=pixel_mm if size is None else size,
    )
    said = row.text("healthy")
    healthy = truth(said)
    if healthy is None and said:
        raise InputError(f"healthy is '{said}'; write true or false")
    if label is None:
        ill = any(ill for ill, _ in row.told) if row.told else bool(pathology)
        return replace(one, healthy=not ill if healthy is None else healthy)
    nothing = is_empty(one, empty)
    if healthy and not nothing:
        raise InputError(f"healthy is '{said}', but {label} marks a lesion; one of them is wrong")
    return replace(one, healthy=nothing if healthy is None else healthy)


def _number(row: TableRow, name: str, kind: Callable[[str], Number]) -> Number | None:
    text = row.text(name)
    if not text:
        return None
    try:
        return kind(text)
    except ValueError:
        whole = "whole " if kind is int else ""
        raise InputError(f"{name} is '{text}'; write a {whole}number") from None


def is_empty(one: RawSlice, known: dict[tuple[Path, int | None], bool]) -> bool:
    """Return whether a slice's label is empty; an unreadable one fails when it is prepared."""
    # Tables of volumes are read without NumPy.
    from brainuad.volumes.planes import read_plane, read_plane_mask

    assert one.lesion_mask is not None
    key = one.lesion_mask, one.lesion_channel
    if key not in known:
        try:
            like = read_plane(*key)
            known[key] = not read_plane_mask(key[0], like, key[1]).any()
        except InputError:
            known[key] = False
    return known[key]

"""2D images of brains: what a row of a table says of one.

The unit of splits and of statistics is the person; several slices may share one. Health is said of
each slice: a tumour patient's slice without tumour is healthy here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from brainuad.cohorts.columns import Columns, columns_of
from brainuad.cohorts.filename import is_image
from brainuad.cohorts.names import check_name
from brainuad.cohorts.people import is_ill, truth
from brainuad.cohorts.scans import Found, RawScan
from brainuad.cohorts.slice_names import sequence_in, subject_of
from brainuad.cohorts.table import SPLITS, cell_of, file_of
from brainuad.cohorts.words import NOBODY
from brainuad.errors import InputError
from brainuad.machine.read import read_table
from brainuad.volumes.plane_files import is_plane_file

Number = TypeVar("Number", int, float)

_LIMITS_MM = (0.01, 50.0)
"""What the edge of a pixel of a head may be."""


@dataclass(frozen=True)
class RawSlice(RawScan):
    """A 2D image as it came; a row of the table.

    Attributes:
        subject: name of the slice, one for all its sequences.
        person: unit of splits and of statistics; empty where it is the subject.
        image: PNG, TIFF, JPEG, NPY, or a NIfTI of one plane.
        channel: of the image in an NPY of several (`brainuad.volumes.planes.read_plane`).
        lesion_channel: of the label in such an array.
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
    """Whether a file's name ends as those of slices do; a NIfTI file may hold one."""
    return is_plane_file(name) or is_image(name)


def slices_of_table(source: Path, sequence: str, pixel_mm: float) -> Found:
    """List the slices of a table; see `brainuad.cohorts.find_slices`."""
    header, rows = read_table(source)
    columns = columns_of(source, header, rows, COLUMNS, is_slice_file)
    found = Found("a table of slices")
    if columns.unknown:
        found.notes.append(f"columns left aside: {', '.join(columns.unknown)}")
    empty: dict[tuple[Path, int | None], bool] = {}
    for line, row in enumerate(rows, start=2):
        if not any(value.strip() for value in row.values()):
            continue
        where = f"{source} line {line}"
        cells = {known: cell_of(known, row[name]) for known, name in columns.taken.items()}
        try:
            one = _row(cells, _told(row, columns), source.parent, where, pixel_mm, empty)
        except InputError as error:
            said = str(error)
            raise InputError(said if said.startswith(where) else f"{where}: {said}") from None
        if not one.sequence:
            one = replace(one, sequence=sequence)
            found.assumed.add(one.image)
        found.scans.append(one)
    if not found.scans:
        raise InputError(f"{source}: lists no slice; add a row a slice, with its file in 'image'")
    return found


def _told(row: Mapping[str, str], columns: Columns) -> list[bool]:
    """What the other columns say of a row's health."""
    told = (ill[row[name].strip()] for name, ill in columns.health.items())
    return [ill for ill in told if ill is not None]


def _row(
    cells: dict[str, str],
    told: Sequence[bool],
    folder: Path,
    where: str,
    pixel_mm: float,
    empty: dict[tuple[Path, int | None], bool],
) -> RawSlice:
    """The slice of a row; its sequence is empty where nothing tells it."""
    if not cells["image"]:
        raise InputError(f"{where}: column image is empty; fill it in")
    image = file_of(folder, cells["image"])
    brain = file_of(folder, cells["brain_mask"]) if cells.get("brain_mask") else None
    label = file_of(folder, cells["lesion_mask"]) if cells.get("lesion_mask") else None
    channel = _number(cells, "channel", where, int)
    lesion_channel = _number(cells, "lesion_channel", where, int)
    if label is None and lesion_channel is not None:
        label = image
    split = cells.get("split", "").casefold()
    pathology = cells.get("pathology", "")
    pathology = "" if pathology.casefold() in NOBODY or is_ill(pathology) is False else pathology
    stem = image.name.partition(".")[0]
    size = _number(cells, "pixel_mm", where, float)
    one = RawSlice(
        subject=cells.get("subject") or subject_of(stem),
        sequence=cells.get("sequence") or sequence_in(stem),
        image=image,
        healthy=True,
        brain_mask=brain,
        lesion_mask=label,
        split=SPLITS.get(split, split),
        site=cells.get("site", ""),
        pathology=pathology,
        person=cells.get("person", ""),
        channel=channel,
        lesion_channel=lesion_channel,
        pixel_mm=pixel_mm if size is None else size,
    )
    said = cells.get("healthy", "")
    healthy = truth(said)
    if healthy is None and said:
        raise InputError(f"{where}: healthy is '{said}'; write true or false")
    if label is None:
        ill = any(told) if told else bool(pathology)
        return replace(one, healthy=not ill if healthy is None else healthy)
    nothing = is_empty(one, empty)
    if healthy and not nothing:
        raise InputError(
            f"{where}: healthy is '{said}', but {label} marks a lesion; one of them is wrong"
        )
    return replace(one, healthy=nothing if healthy is None else healthy)


def _number(
    cells: Mapping[str, str], name: str, where: str, kind: Callable[[str], Number]
) -> Number | None:
    text = cells.get(name, "")
    if not text:
        return None
    try:
        return kind(text)
    except ValueError:
        whole = "whole " if kind is int else ""
        raise InputError(f"{where}: {name} is '{text}'; write a {whole}number") from None


def is_empty(one: RawSlice, known: dict[tuple[Path, int | None], bool]) -> bool:
    """Whether a slice's label marks nothing; one that cannot be read fails when its turn comes."""
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

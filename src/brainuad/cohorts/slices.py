"""2D images of brains where somebody pointed: a table of them, or a folder.

The unit of splits and of statistics is the person; several slices may share one. Health is said of
each slice: a tumour patient's slice without tumour is healthy here.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from brainuad.cohorts.columns import Columns, columns_of
from brainuad.cohorts.filename import is_image
from brainuad.cohorts.names import check_name, file_name
from brainuad.cohorts.people import is_ill, truth
from brainuad.cohorts.scans import Found, RawScan
from brainuad.cohorts.table import SPLITS, TABLES, cell_of, file_of
from brainuad.cohorts.tree import Aside, Tree, walk
from brainuad.cohorts.words import CONTAINER, NOBODY, PLAIN, loosened, word_set, words_of
from brainuad.errors import InputError
from brainuad.machine.read import read_table
from brainuad.volumes.planes import is_plane_file, read_plane, read_plane_mask

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


def find_slices(source: Path, sequence: str, pixel_mm: float) -> Found:
    """List the slices of a source, and account for every other file.

    A table has a column `image` and optionally every other field of `RawSlice`, under other names
    too (`brainuad.cohorts.columns`); a person named `train`, `val` or `test` in the split's column
    is in it. In a folder, `a.png` with `a_mask.png`, or `images/a.png` with `masks/a.png`, are a
    slice and its lesion mask, `a_brainmask.png` is its brain mask, and folders called `train`,
    `val` and `test` are the splits. Every image is then a person of its own.

    Args:
        source: a folder, a `.csv` or `.tsv` file, or one image.
        sequence: what a slice is whose name or row does not tell.
        pixel_mm: edge length of a pixel where the row does not tell it.

    Raises:
        InputError: nothing there, or a value or a name that cannot be understood.
    """
    if source.is_file() and source.name.lower().endswith(TABLES):
        found = _from_table(source, sequence, pixel_mm)
    elif source.is_file() and is_slice_file(source.name):
        name, told = _subject_of(source.stem), _sequence_of(source.stem)
        one = RawSlice(name, told or sequence, source, True, split="test", pixel_mm=pixel_mm)
        found = Found("an image", [one])
    elif source.is_dir():
        found = _from_tree(walk(source), sequence, pixel_mm)
    else:
        raise InputError(
            f"{source}: neither a folder nor an image or .csv file; check the path (data.source)"
        )
    _refuse_repeated(found.scans, source)
    return found


def _from_table(source: Path, sequence: str, pixel_mm: float) -> Found:
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
        subject=cells.get("subject") or _subject_of(stem),
        sequence=cells.get("sequence") or _sequence_of(stem),
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
    nothing = _is_empty(one, empty)
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


def _is_empty(one: RawSlice, known: dict[tuple[Path, int | None], bool]) -> bool:
    """Whether a slice's label marks nothing; one that cannot be read fails when its turn comes."""
    assert one.lesion_mask is not None
    key = one.lesion_mask, one.lesion_channel
    if key not in known:
        try:
            like = read_plane(*key)
            known[key] = not read_plane_mask(key[0], like, key[1]).any()
        except InputError:
            known[key] = False
    return known[key]


def _from_tree(tree: Tree, sequence: str, pixel_mm: float) -> Found:
    found = Found("2D images", aside=list(tree.aside))
    files = [path for path in tree.files if is_slice_file(path.name)]
    found.aside += [Aside(path, "no image") for path in tree.files if path not in set(files)]
    roles = {path: _role(path.relative_to(tree.root)) for path in files}
    images = [path for path in files if not roles[path]]
    if not images:
        raise InputError(
            f"{tree.root}: no PNG, TIFF, JPEG or NPY image found, nor a NIfTI of one plane; check "
            "data.source"
        )
    stems = [_subject_of(path.name.partition(".")[0]) for path in images]
    masks: dict[str, dict[Path, Path]] = {"lesion": {}, "brain": {}}
    keys: dict[str, list[Path]] = {}
    for path, stem in zip(images, stems, strict=True):
        keys.setdefault(stem.casefold(), []).append(path)
    for path in files:
        if not roles[path]:
            continue
        near = keys.get(_subject_of(path.name.partition(".")[0]).casefold(), [])
        for image in _nearest(path, near):
            if (other := masks[roles[path]].setdefault(image, path)) != path:
                raise InputError(
                    f"{path}: {image.name} has {other.name} as its {roles[path]} mask, too; keep "
                    "one, or list the slices in a CSV"
                )
        if not near:
            found.aside.append(Aside(path, f"a {roles[path]} mask of no image", wanted=True))
    empty: dict[tuple[Path, int | None], bool] = {}
    for path, stem in zip(images, stems, strict=True):
        told = _sequence_of(path.name.partition(".")[0])
        folders = path.relative_to(tree.root).parts[:-1]
        one = RawSlice(
            subject=stem,
            sequence=told or sequence,
            image=path,
            healthy=not any(is_ill(part) for part in folders),
            brain_mask=masks["brain"].get(path),
            lesion_mask=masks["lesion"].get(path),
            split=_split_of(folders),
            pixel_mm=pixel_mm,
        )
        if one.lesion_mask is not None:
            one = replace(one, healthy=_is_empty(one, empty))
        if not told:
            found.assumed.add(path)
        found.scans.append(one)
    _name_apart(found.scans, tree.root)
    return found


def _nearest(mask: Path, images: Sequence[Path]) -> list[Path]:
    """Of the images with a mask's name, those that share the most folders with it."""

    def shared(image: Path) -> int:
        pairs = zip(mask.parts, image.parts, strict=False)
        return next((i for i, (a, b) in enumerate(pairs) if a != b), 0)

    most = max(map(shared, images), default=0)
    return [image for image in images if shared(image) == most]


def _name_apart(slices: list[RawScan], root: Path) -> None:
    """Put the folders before the names of slices that would have one name and sequence."""
    count: dict[tuple[str, str], int] = {}
    for one in slices:
        key = one.subject.casefold(), one.sequence
        count[key] = count.get(key, 0) + 1
    for i, one in enumerate(slices):
        if count[one.subject.casefold(), one.sequence] > 1:
            folders = one.image.relative_to(root).parts[:-1]
            told = [part for part in folders if part.casefold() not in _PLACES]
            slices[i] = replace(one, subject=file_name("_".join([*(told or folders), one.subject])))


_PLACES = CONTAINER - {word for word in CONTAINER if word in SPLITS or word in ("train", "test")}


def _split_of(folders: Sequence[str]) -> str:
    """The split that a folder is called after."""
    for part in folders:
        name = SPLITS.get(part.casefold(), part.casefold())
        if name in ("train", "val", "test"):
            return name
    return ""


_MASKS = word_set(
    "mask masks msk seg segm segmentation segmentations label labels gt groundtruth annotation "
    "annotations annot roi rois lesion lesions lesionmask lesionmasks"
)
_BRAINS = word_set("brain brainmask brainmasks")


def _role(path: Path) -> str:
    """`lesion` or `brain` of a mask, empty of an image: by its name, else by its folder's."""
    for text in (path.name.partition(".")[0], *reversed(path.parts[:-1])):
        words = {word.text for word in words_of(text)}
        plain = words | {one for one in loosened(words) if one in ("mask", "seg", "brain")}
        if plain & _MASKS:
            return "brain" if plain & _BRAINS else "lesion"
    return ""


def _sequence_of(stem: str) -> str:
    """The sequence that a word of a name tells; empty where none does."""
    told = [PLAIN[word.text] for word in words_of(stem) if word.text in PLAIN]
    return told[-1] if told else ""


def _subject_of(stem: str) -> str:
    """A name without the words of sequences and masks: an image and its mask have the same."""
    drop = _MASKS | _BRAINS | PLAIN.keys()
    words = words_of(stem)
    kept = [word for word in words if word.text not in drop]
    if not kept or len(kept) == len(words):
        return file_name(stem)
    pieces = [stem[kept[0].start : kept[0].end]]
    for before, word in pairwise(kept):
        between = re.match(r"[\W_]*", stem[before.end :])
        pieces += [between[0] if between else "_", stem[word.start : word.end]]
    return file_name("".join(pieces))


def _refuse_repeated(slices: Sequence[RawScan], source: Path) -> None:
    """Refuse two rows of one slice, before any of them is read."""
    seen: dict[tuple[str, str], Path] = {}
    for one in slices:
        other = seen.setdefault((one.subject, one.sequence), one.image)
        if other is not one.image:
            raise InputError(
                f"{source}: {one.image.name} and {other.name} are both {one.sequence} of slice "
                f"{one.subject}; name each slice once"
            )

"""2D images where somebody pointed: a table of them, a folder, or one."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from brainuad.cohorts.names import file_name
from brainuad.cohorts.people import is_ill
from brainuad.cohorts.rows import SPLITS, TABLES
from brainuad.cohorts.scans import Found, RawScan
from brainuad.cohorts.slice_names import BRAINS, MASKS, sequence_in, subject_of
from brainuad.cohorts.slices import RawSlice, is_empty, is_slice_file, slices_of_table
from brainuad.cohorts.tree import Aside, Tree, walk
from brainuad.cohorts.words import CONTAINER, loosened, words_of
from brainuad.errors import InputError


def find_slices(source: Path, sequence: str, pixel_mm: float, out: Path | None = None) -> Found:
    """List the slices of a source, and account for every other file.

    A table has a column `image` and optionally every other field of `RawSlice`, under other names
    too (`brainuad.cohorts.columns`); a person named `train`, `val` or `test` in the split's column
    is in it. In a folder, `a.png` with `a_mask.png`, or `images/a.png` with `masks/a.png`, are a
    slice and its lesion mask, `a_brainmask.png` is its brain mask, and folders called `train`,
    `val` and `test` are the splits. Every image is then a person of its own.

    Args:
        source: a folder, a `.csv` or `.tsv` file, or one image.
        sequence: sequence of a slice whose name or row does not state it.
        pixel_mm: edge length of a pixel if the row does not state it.
        out: folder of the command's results, which are no input.

    Raises:
        InputError: nothing there, or a value or a name that cannot be understood.
    """
    if source.is_file() and source.name.lower().endswith(TABLES):
        found = slices_of_table(source, sequence, pixel_mm)
    elif source.is_file() and is_slice_file(source.name):
        name, told = subject_of(source.stem), sequence_in(source.stem)
        one = RawSlice(name, told or sequence, source, True, split="test", pixel_mm=pixel_mm)
        found = Found("an image", [one])
    elif source.is_dir():
        found = _from_tree(walk(source, out), sequence, pixel_mm)
    else:
        raise InputError(
            f"{source}: neither a folder nor an image or .csv file; check the path (data.source)"
        )
    _refuse_repeated(found.scans, source)
    return found


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
    stems = [subject_of(path.name.partition(".")[0]) for path in images]
    masks: dict[str, dict[Path, Path]] = {"lesion": {}, "brain": {}}
    keys: dict[str, list[Path]] = {}
    for path, stem in zip(images, stems, strict=True):
        keys.setdefault(stem.casefold(), []).append(path)
    for path in files:
        if not roles[path]:
            continue
        near = keys.get(subject_of(path.name.partition(".")[0]).casefold(), [])
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
        told = sequence_in(path.name.partition(".")[0])
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
            one = replace(one, healthy=is_empty(one, empty))
        if not told:
            found.assumed.add(path)
        found.scans.append(one)
    _name_apart(found.scans, tree.root)
    return found


def _nearest(mask: Path, images: Sequence[Path]) -> list[Path]:
    """Return the images with a mask's name that share the most folders with it."""

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


def _role(path: Path) -> str:
    """`lesion` or `brain` of a mask, empty of an image: by its name, else by its folder's."""
    for text in (path.name.partition(".")[0], *reversed(path.parts[:-1])):
        words = {word.text for word in words_of(text)}
        plain = words | {one for one in loosened(words) if one in ("mask", "seg", "brain")}
        if plain & MASKS:
            return "brain" if plain & BRAINS else "lesion"
    return ""


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

"""Headers of DICOM files: each image of a folder, one per file or per frame of a file."""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from brainuad.errors import InputError
from brainuad.volumes.dicom.kinds import kind_of

_ENDINGS = (".dcm", ".ima", ".dicom")
"""Endings of files that are damaged where they hold no DICOM header."""

SHARED, PER_FRAME = 0x52009229, 0x52009230
"""Sequences with what all frames of a file share, and with what each frame has of its own."""

_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")
"""First bytes of a DICOM file of old, without the preamble."""

_TAGS = [
    *(0x00080008, 0x00080016, 0x00080018, 0x00080060, 0x0008103E, 0x00089207, 0x00089208),
    *(0x00100020, 0x00180050, 0x00180081, 0x00180082, 0x00180086, 0x00180088, 0x00181060),
    *(0x00181314, 0x00189087, 0x00190010, 0x0019100A, 0x0020000E, 0x00200012, 0x00200013),
    *(0x00200032, 0x00200037, 0x00200052, 0x00200100, 0x00201002, 0x00280004, 0x00280008),
    *(0x00280010, 0x00280011, 0x00280030, 0x00430010, 0x0043102F, SHARED, PER_FRAME),
]

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_SPECTRUM = f"{_STORAGE}4.2"

_GE_COMPONENT = {1: "PHASE", 2: "REAL", 3: "IMAGINARY"}

_TOLD = {
    "echo number": (0x00180086,),
    "echo time": (0x00189082, 0x00180081),
    "b-value": (0x00189087,),
    "time point": (0x00209128, 0x00200100),
    "acquisition": (0x00209156, 0x00200012),
    "trigger time": (0x00209153, 0x00181060),
    "inversion time": (0x00189079, 0x00180082),
    "flip angle": (0x00181314,),
    "stack": (0x00209056,),
    "image type": (0x00089007, 0x00080008),
    "description": (0x0008103E,),
    "grey scale": (0x00280004,),
}
"""Properties that separate the volumes of one series, with their tags, in order of preference."""


@dataclass(frozen=True)
class Image:
    """One 2D image of a series as its header describes it.

    Attributes:
        file: the file.
        frame: index within the file, or of a tile within a mosaic; 0 for a file of one image.
        frames: number of images in the file.
        kind: see `brainuad.volumes.dicom.kinds.kind_of`.
        series: UID of the series.
        patient: ID of the patient; empty where it has none.
        modality: `MR`, `CT`, …; empty if unknown.
        description: description of the series, in the scanner's words.
        size: rows and columns.
        world: UID of the frame of reference of its position.
        position: LPS mm of the centre of the first voxel; None where it is missing or broken.
        orientation: unit vectors along a row and along a column, LPS; None likewise.
        spacing: mm between rows and between columns; None likewise.
        thickness: mm; None where it is not told.
        between: mm between slices, as told; None where it is not.
        expected: number of images of the acquisition, as told; 0 where it is not.
        scaling: slope and intercept of one frame of several; None for the decoder's own.
        told: values of the properties that separate volumes.
        multi_frame: whether the file lists its frames.
        mosaic: whether it is a Siemens mosaic, slices side by side in one image, or a tile of one.
    """

    file: Path
    frame: int
    frames: int
    kind: str
    series: str
    patient: str
    modality: str
    description: str
    size: tuple[int, int]
    world: str = ""
    position: tuple[float, ...] | None = None
    orientation: tuple[float, ...] | None = None
    spacing: tuple[float, ...] | None = None
    thickness: float | None = None
    between: float | None = None
    expected: int = 0
    scaling: tuple[float, float] | None = None
    told: dict[str, str] = field(default_factory=dict)
    multi_frame: bool = False
    mosaic: bool = False

    @property
    def name(self) -> str:
        """Name of the file, with the frame or tile, counted from 1, where it holds several."""
        if self.frames < 2:
            return self.file.name
        return f"{self.file.name} ({'tile' if self.mosaic else 'frame'} {self.frame + 1})"


def images_in(folder: Path) -> tuple[list[Image], list[Path]]:
    """Read the headers of the DICOM files that lie directly in a folder.

    Returns:
        The images, in natural order of their files; and the damaged files.

    Raises:
        InputError: a pipe or a device lies in the folder, which would be waited for without end.
    """
    images: list[Image] = []
    damaged: list[Path] = []
    for path in sorted(folder.iterdir()):
        # macOS leaves a `._001.dcm` beside each file.
        if path.is_dir() or path.name.startswith(".") or path.name.upper() == "DICOMDIR":
            continue
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: is a pipe or a device; take it out of the folder")
        try:
            images += _images_of(path)
        except Exception:
            # Broken files raise errors of every kind.
            if _may_be_slice(path) or is_dicom(path):
                damaged.append(path)
    return images, damaged


def is_dicom(path: Path) -> bool:
    """Return whether a file begins as a DICOM file does."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _may_be_slice(path: Path) -> bool:
    """Return whether a name may be a slice's, such as `IM0005`; empty if it was not copied."""
    numbered = not path.suffix and any(map(str.isdigit, path.name))
    return numbered or path.suffix.lower() in _ENDINGS


@contextmanager
def lenient() -> Iterator[None]:
    """Keep pydicom from warning about values that break the standard."""
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        yield


def _images_of(path: Path) -> list[Image]:
    """The images of a file; none where it holds none or is no DICOM file.

    Raises:
        Exception: it is damaged.
    """
    with path.open("rb") as file:
        start = file.read(132)
    marked = start[128:] == b"DICM"
    if not marked and start[:2] not in _FIRST_GROUPS:
        if path.suffix.lower() in _ENDINGS or not start.strip(b"\0"):
            raise ValueError("no DICOM header")
        return []
    with lenient():
        header = pydicom.dcmread(
            path, stop_before_pixels=True, force=not marked, specific_tags=list(_TAGS)
        )
        if not header and marked:
            raise ValueError("an empty header")
        rows, columns = _number(header, 0x00280010), _number(header, 0x00280011)
        if not rows or not columns:
            # A report or a presentation state; or an image cut short.
            storage = _text(header, 0x00080016)
            if marked and (not storage or (_modality(storage) and storage != _SPECTRUM)):
                raise ValueError("its header ends early")
            return []
        return _frames(path, header, (int(rows), int(columns)))


def _frames(path: Path, header: Dataset, size: tuple[int, int]) -> list[Image]:
    items = _sequence(header, PER_FRAME)
    shared = _groups(_sequence(header, SHARED)[:1])
    count = max(int(_number(header, 0x00280008) or 1), 1)
    if not items:
        return [_image(path, [header], size, i, count, bool(shared)) for i in range(count)]
    if len(items) != count:
        raise ValueError("frames without a description")
    return [
        _image(path, [*_groups([item]), *shared, header], size, i, count, True)
        for i, item in enumerate(items)
    ]


def _groups(items: list[Dataset]) -> list[Dataset]:
    """The first item of each functional group."""
    return [
        element.value[0]
        for item in items
        for element in item
        if element.VR == "SQ" and len(element.value)
    ]


def _image(
    path: Path, parts: list[Dataset], size: tuple[int, int], index: int, count: int, multi: bool
) -> Image:
    header = parts[-1]
    frame_type = _first(parts, 0x00089007) or _first(parts, 0x00080008)
    component = _first(parts, 0x00089208)
    if not component and "GEMS" in _text(header, 0x00430010):
        component = _GE_COMPONENT.get(int(_number(header, 0x0043102F) or 0), "")
    counted = "SIEMENS" in _text(header, 0x00190010) and (_number(header, 0x0019100A) or 0) > 1
    # Newer scanners put the slices into frames, and keep the word in the image type.
    mosaic = count == 1 and (counted or "MOSAIC" in frame_type.upper())
    told = {name: next(filter(None, (_first(parts, t) for t in tags)), "")
            for name, tags in _TOLD.items()}  # fmt: skip
    slope, intercept = _numbers(parts, 0x00281053, 1), _numbers(parts, 0x00281052, 1)
    scaling = (slope[0] if slope else 1.0, intercept[0] if intercept else 0.0)
    orientation = _numbers(parts, 0x00200037, 6)
    spacing = _numbers(parts, 0x00280030, 2)
    thickness, between = _numbers(parts, 0x00180050, 1), _numbers(parts, 0x00180088, 1)
    modality = _text(header, 0x00080060).upper()
    technique = _first(parts, 0x00089207)
    return Image(
        file=path,
        frame=index,
        frames=count,
        kind=kind_of(frame_type, component, technique, modality),
        series=_text(header, 0x0020000E),
        patient=_text(header, 0x00100020),
        modality=modality or _modality(_text(header, 0x00080016)),
        description=_text(header, 0x0008103E),
        size=size,
        world=_text(header, 0x00200052),
        # Frames that are not described share no position.
        position=None if count > 1 and not multi else _numbers(parts, 0x00200032, 3),
        orientation=orientation,
        spacing=spacing if spacing and min(spacing) > 0 else None,
        thickness=thickness[0] if thickness else None,
        between=abs(between[0]) if between else None,
        expected=0 if multi else int(_number(header, 0x00201002) or 0),
        scaling=scaling if multi or count > 1 else None,
        told=told,
        multi_frame=multi or count > 1,
        mosaic=mosaic,
    )


def _modality(sop_class: str) -> str:
    """The modality that a storage class is for; empty for any other."""
    number = sop_class.removeprefix(_STORAGE).split(".")[0]
    return {"4": "MR", "2": "CT", "128": "PT", "130": "PT", "20": "NM"}.get(number, "")


def _sequence(part: Dataset, tag: int) -> list[Dataset]:
    value = part[tag].value if tag in part else None
    return list(value) if value else []


def _text(part: Dataset, tag: int) -> str:
    """A value as text, several joined by backslashes; empty where it is missing or broken."""
    try:
        value = part[tag].value if tag in part else None
    except Exception:
        return ""
    if value is None:
        return ""
    several = not isinstance(value, str | bytes) and hasattr(value, "__iter__")
    return "\\".join(map(str, value)).strip() if several else str(value).strip()


def _first(parts: list[Dataset], tag: int) -> str:
    return next(filter(None, (_text(part, tag) for part in parts)), "")


def _numbers(parts: list[Dataset], tag: int, count: int) -> tuple[float, ...] | None:
    """Return that many finite numbers; None where they are missing or broken."""
    try:
        values = tuple(float(text) for text in _first(parts, tag).split("\\"))
    except ValueError:
        return None
    return values if len(values) == count and all(map(math.isfinite, values)) else None


def _number(part: Dataset, tag: int) -> float | None:
    """The first number of a value."""
    try:
        return float(_text(part, tag).split("\\")[0])
    except ValueError:
        return None

"""Headers of NIfTI files as people have them: what is broken and not needed stops no scan."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np

from brainuad.errors import InputError
from brainuad.machine.limits import DEFLATE, require_file, require_memory
from brainuad.volumes.forms import (
    IN_MM,
    VOXEL_MM,
    agree,
    is_usable,
    qform_of,
    sform_of,
    shear_of,
    unit_of,
)

HEAD_MM = (5.0, 2000.0)
"""Longest edge of what a scanner takes in, of a mouse or of a whole person."""

SHEARED = 0.5
"""Cosine of two axes of a voxel up to which an sform is believed beside a good qform."""

_MAX_OFFSET = 2**26  # bytes before the voxels: what header extensions may take
_WORKING = 8  # bytes a voxel beside those of the file: float32, and one copy
_LONGEST = 544  # bytes; as many as the longer header, of NIfTI-2, has with its extension flag
_KINDS = {348: nib.nifti1.Nifti1Header, 540: nib.nifti2.Nifti2Header}


class Header(NamedTuple):
    """Description of the voxels of a NIfTI file, with broken fields mended.

    Attributes:
        image: its header mended, its affine in the units of the file, its voxels unread.
        affine: `(4, 4)`, voxel to RAS mm.
        notes: oddities.
        sides_known: whether it distinguishes left and right.
        pair: whether header and voxels are two files.
    """

    image: nib.nifti1.Nifti1Image
    affine: np.ndarray
    notes: tuple[str, ...] = ()
    sides_known: bool = True
    pair: bool = False

    @property
    def world(self) -> int:
        """NIfTI's code of the world that the affine leads to: 1 the scanner's, 2 that of another
        file, 3 Talairach's, 4 MNI's; 0 where it is not told."""
        header = self.image.header
        return int(header["sform_code"]) or int(header["qform_code"])


def read_header(path: Path) -> Header:
    """Read the header of a NIfTI-1 or NIfTI-2 file, or of an `.hdr` and `.img` pair.

    Raises:
        InputError: it claims more voxels than it, or the memory at hand, can hold; or it tells no
            size of its voxels.
        Exception: nibabel's error for another file; `read_volume` says it in words.
    """
    where, voxels = _files(path)
    pair = where != voxels
    size = require_file(voxels)
    with nib.openers.ImageOpener(str(where)) as file:
        first = file.read(_LONGEST)
    header = _parsed(first, pair)
    notes: list[str] = []
    shape = _mend_shape(header, path, notes)
    _mend_scaling(header, notes)
    count = math.prod(shape)
    packed = voxels.suffix.lower() not in (".nii", ".img")
    voxel_bytes = count * header.get_data_dtype().itemsize
    least = 0 if pair else header.sizeof_hdr + 4
    offset, mended = _offset(header, first, least, None if packed else size - voxel_bytes, notes)
    if not 0 <= offset <= _MAX_OFFSET:
        raise InputError(f"{path}: its header puts the voxels at byte {offset:g}; mend it")
    claimed = offset + voxel_bytes
    if claimed > size * (DEFLATE if packed else 1) or (
        mended and packed and not _holds(voxels, claimed)
    ):
        raise InputError(
            f"{path}: truncated or damaged ({' x '.join(map(str, shape))} voxels take "
            f"{claimed:.4g} bytes, a file of {size} bytes cannot hold them); copy or export it "
            "again"
        )
    require_memory(claimed + count * _WORKING, path, "crop or resample it first")
    sides_known = _mend_orientation(header, path, notes)
    slope, inter = header.get_slope_inter()
    scaling = (1.0, 0.0) if slope is None else (slope, inter)
    spec = (shape, header.get_data_dtype(), int(offset), *scaling)
    kind = nib.nifti2.Nifti2Image if header.sizeof_hdr == 540 else nib.nifti1.Nifti1Image
    image = kind(nib.arrayproxy.ArrayProxy(str(voxels), spec), header.get_best_affine(), header)
    factor = _millimetres(header, shape, notes)
    affine = np.asarray(image.affine, dtype=np.float64)
    if factor != 1:
        # The file rounds metres to seven digits; no scanner is better than 10 nm.
        affine = np.round(np.diag([factor, factor, factor, 1.0]) @ affine, 5)
    return Header(image, affine, tuple(notes), sides_known, pair)


def _files(path: Path) -> tuple[Path, Path]:
    """The files of the header and of the voxels."""
    name, ending = path.name, ""
    if name.lower().endswith(".gz"):
        name, ending = name[:-3], name[-3:]
    stem, kind = name[:-4], name[-4:]
    if kind.lower() not in (".hdr", ".img"):
        return path, path
    own = kind.isupper()
    found = [
        path.with_name(stem + (other.upper() if own else other) + ending)
        for other in (".hdr", ".img")
    ]
    for one in found:
        if not one.is_file():
            raise InputError(f"{one}: no such file; {path.name} needs it beside it")
    return found[0], found[1]


def _parsed(first: bytes, pair: bool) -> Any:
    """The header of a NIfTI file by its size or, where that is broken, by its magic string.

    Raises:
        ImageFileError: it is none.
    """
    number = {int.from_bytes(first[:4], "little"): "<", int.from_bytes(first[:4], "big"): ">"}
    kinds = [kind for size, kind in _KINDS.items() if size in number]
    if first[344:347] in (b"n+1", b"ni1"):
        kinds = [nib.nifti1.Nifti1Header]
    elif first[4:7] in (b"n+2", b"ni2"):
        kinds = [nib.nifti2.Nifti2Header]
    elif kinds:
        what = "Analyze 7.5 tells no left and right" if pair else "its magic string is missing"
        raise nib.filebasedimages.ImageFileError(what)
    if not kinds or len(first) < kinds[0].sizeof_hdr:
        raise nib.filebasedimages.ImageFileError("its first bytes are no header")
    size = kinds[0].sizeof_hdr
    # Where its size tells no byte order, nibabel goes by the number of axes.
    header = kinds[0](first[:size], endianness=number.get(size), check=False)
    header["sizeof_hdr"] = size
    return header


def _mend_shape(header: Any, path: Path, notes: list[str]) -> tuple[int, ...]:
    """Take off trailing axes of length one, however many, and those that were left at 0."""
    axes, *lengths = (int(n) for n in header["dim"])
    shape = lengths[:axes] if 1 <= axes <= 7 else list(lengths)
    while len(shape) > 3 and shape[-1] in (0, 1):
        shape.pop()
    if min(shape) < 1:
        raise InputError(f"{path}: its header claims {axes} axes of {shape} voxels; mend it")
    if not 1 <= axes <= 7:
        notes.append(f"its header claims {axes} axes; {len(shape)} are told by their lengths")
    elif len(shape) < axes:
        notes.append(f"{axes - len(shape)} further axes of length one are left out")
    header["dim"] = [len(shape), *shape, *[1] * (7 - len(shape))]
    return tuple(shape)


def _mend_scaling(header: Any, notes: list[str]) -> None:
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if np.isfinite(slope) and slope != 0 and not np.isfinite(inter):
        header["scl_inter"] = 0
        notes.append(f"the intercept of its intensities is {inter}; taken for 0")


def _offset(
    header: Any, first: bytes, least: int, whole: int | None, notes: list[str]
) -> tuple[float, bool]:
    """Return the first byte of the voxels, and whether the header states another one.

    Args:
        header: changed.
        first: bytes of the file, the flag of extensions among them.
        least: smallest offset of the voxels.
        whole: offset of the voxels if they end with the file; None where that is not known.
        notes: more are added.
    """
    said = float(header["vox_offset"])
    # Not `said < least`: NaN is mended, too.
    if said >= least and (whole is None or said <= whole or whole != least):
        return said, False
    if first[header.sizeof_hdr : header.sizeof_hdr + 1] not in (b"", b"\0"):
        # Extensions of unknown length come before the voxels.
        least = -1 if whole is None else whole
    header["vox_offset"] = least
    notes.append(f"its header puts the voxels at byte {said:g}; they are read from {least}")
    return float(least), True


def _holds(path: Path, count: float) -> bool:
    """Return whether a packed file holds that many bytes."""
    with nib.openers.ImageOpener(str(path)) as file:
        try:
            while count > 0 and (block := file.read(2**20)):
                count -= len(block)
        except (EOFError, OSError):
            return False
    return count <= 0


def _mend_orientation(header: Any, path: Path, notes: list[str]) -> bool:
    """Keep the usable forms; return False if none distinguishes left and right.

    Raises:
        InputError: not even the size of a voxel is known.
    """
    forms: dict[str, np.ndarray] = {}
    codes = {name: int(header[f"{name}_code"]) for name in ("sform", "qform")}
    for name, matrix in (("sform", sform_of(header)), ("qform", qform_of(header))):
        if codes[name] and is_usable(matrix):
            forms[name] = matrix
    if len(forms) == 2 and shear_of(forms["sform"]) > SHEARED:
        # One broken number does that, no registration.
        del forms["sform"]
    for name in ("sform", "qform"):
        if codes[name] and name not in forms:
            header[f"{name}_code"] = 0
            notes.append("; ".join([f"its {name} is broken", *(f"the {n} is used" for n in forms)]))
    size = np.abs(np.asarray(header["pixdim"][1:4], dtype=np.float64))
    if forms:
        size = np.linalg.norm(next(iter(forms.values()))[:3, :3], axis=0)
    elif not np.isfinite(size).all() or size.min() * max(unit_of(header), 1.0) < VOXEL_MM:
        raise InputError(f"{path}: voxel size {size} mm is degenerate; mend the header")
    _mend_fields(header, set(forms), size)
    if not forms:
        notes.append("no orientation in the header: left and right are a guess, check the picture")
        return False
    return len(forms) < 2 or agree(forms["sform"], forms["qform"], header, notes)


def _mend_fields(header: Any, forms: set[str], size: np.ndarray) -> None:
    """Leave nothing in the fields of place that stops another program: maps are written with them.

    Args:
        header: changed.
        forms: that can be used.
        size: size of a voxel.
    """
    quaternion = [f"quatern_{axis}" for axis in "bcd"]
    place = [*quaternion, *(f"qoffset_{axis}" for axis in "xyz")]
    length = math.sqrt(sum(float(header[name]) ** 2 for name in quaternion))
    # Not `length > most`: NaN is too long as well.
    fits = length**2 <= 1 + abs(header.quaternion_threshold)
    if "qform" not in forms and not (fits and np.isfinite([header[n] for n in place]).all()):
        for name in place:
            header[name] = 0
    elif not fits:
        # By rounding, and more than nibabel takes.
        for name in quaternion:
            header[name] = float(header[name]) / (length * (1 + 1e-7))
    if "sform" not in forms and not np.isfinite(sform_of(header)).all():
        for name in ("srow_x", "srow_y", "srow_z"):
            header[name] = 0
    edges = np.asarray(header["pixdim"][1:4])
    if not (np.isfinite(edges) & (edges > 0)).all():
        header["pixdim"][1:4] = size
    header["pixdim"][0] = -1 if header["pixdim"][0] < 0 else 1


def _millimetres(header: Any, shape: tuple[int, ...], notes: list[str]) -> float:
    """Return the factor from the file's lengths to mm; a unit that no head can have is ignored."""
    factor, name = IN_MM.get(int(header["xyzt_units"]) & 7, (1.0, ""))
    if not name:
        return 1.0
    edge = max(np.linalg.norm(header.get_best_affine()[:3, :3], axis=0)[: len(shape)] * shape[:3])
    if HEAD_MM[0] <= edge <= HEAD_MM[1] and not HEAD_MM[0] <= edge * factor <= HEAD_MM[1]:
        notes.append(f"its header counts in {name}, which no head can have; taken for mm")
        return 1.0
    notes.append(f"its header counts in {name}; read in mm")
    return factor

"""Reading and writing NIfTI volumes, with errors that name the file and the remedy."""

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from brainuad.errors import InputError
from brainuad.machine.files import atomic_path
from brainuad.machine.limits import DEFLATE, require_file, require_memory
from brainuad.types import Volume


def read_volume(path: Path) -> Volume:
    """Reads a 3D volume as float32 in the axes and grid of the file.

    Args:
        path: a `.nii` or `.nii.gz` file.

    Raises:
        InputError: missing, unreadable, truncated, not a NIfTI, not grey, not 3D, a degenerate
            grid, or NaN or infinite voxels.
    """
    try:
        # Within the try: a folder that may not be entered says so here.
        if not path.is_file():
            raise InputError(
                f"{path}: no such file; check the path in the manifest or on the command"
            )
        image = open_nifti(path)
        if image.get_data_dtype().kind not in "biuf":
            kind = image.header.get_value_label("datatype")
            raise InputError(
                f"{path}: found voxels of type {kind}, expected grey ones; export it so"
            )
        array = np.asarray(image.dataobj, dtype=np.float32)
    except PermissionError:
        raise InputError(f"{path}: not readable; check its permissions") from None
    except (
        nib.filebasedimages.ImageFileError,
        nib.spatialimages.HeaderDataError,
        nib.wrapstruct.WrapStructError,
        gzip.BadGzipFile,
    ) as error:
        raise InputError(f"{path}: not a NIfTI file ({_line(error)}); convert it first") from None
    except (EOFError, OSError, TypeError, ValueError, zlib.error) as error:
        raise InputError(
            f"{path}: truncated or damaged ({_line(error)}); copy or export it again"
        ) from None
    # A trailing axis of length one is a 3D volume written by a 4D tool.
    array = array.reshape(array.shape[:3]) if array.shape[3:] == (1,) else array
    if array.ndim != 3:
        raise InputError(
            f"{path}: found {array.ndim}D data of shape {array.shape}, expected one 3D volume; "
            "split the series into volumes"
        )
    affine = np.asarray(image.affine, dtype=np.float64)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or spacing.min() < 1e-3:
        raise InputError(f"{path}: voxel size {spacing} mm is degenerate; mend the header")
    if not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise InputError(f"{path}: {count} NaN or infinite voxels; replace them by numbers first")
    return Volume(array, affine)


def open_nifti(path: Path) -> nib.nifti1.Nifti1Image:
    """The header of a NIfTI-1 or NIfTI-2 file, its voxels unread.

    Raises:
        InputError: it claims more voxels than it, or the memory at hand, can hold.
        Exception: what nibabel raises for a file that is neither; `read_volume` says it in words.
    """
    _check_sizes(path)
    newer, _ = nib.nifti2.Nifti2Image.path_maybe_image(path)
    return (nib.nifti2.Nifti2Image if newer else nib.nifti1.Nifti1Image).from_filename(path)


_FIRST = 544  # bytes; as many as the longer header, of NIfTI-2, has
_MAX_OFFSET = 2**26  # bytes before the voxels: what header extensions may take
_WORKING = 8  # bytes a voxel beside those of the file: float32, and one copy


def _check_sizes(path: Path) -> None:
    """Refuse a header that claims more than is there, before memory is asked for.

    Raises:
        InputError: as said, with the numbers.
    """
    size = require_file(path)
    with nib.openers.ImageOpener(str(path)) as file:
        first = file.read(_FIRST)
    kinds = {348: nib.nifti1.Nifti1Header, 540: nib.nifti2.Nifti2Header}
    kind = kinds.get(int.from_bytes(first[:4], "little"), kinds.get(int.from_bytes(first[:4])))
    if kind is None or len(first) < kind.sizeof_hdr:
        return
    header = kind(first[: kind.sizeof_hdr], check=False)
    axes, *lengths = (int(n) for n in header["dim"])
    shape, offset = lengths[:axes], float(header["vox_offset"])
    if not 1 <= axes <= 7 or min(shape) < 1:
        raise InputError(f"{path}: its header claims {axes} axes of {shape} voxels; mend it")
    if not 0 <= offset <= _MAX_OFFSET:
        raise InputError(f"{path}: its header puts the voxels at byte {offset:g}; mend it")
    voxels = math.prod(shape)
    claimed = offset + voxels * max(1, int(header["bitpix"])) // 8
    packed = path.suffix.lower() != ".nii"
    if claimed > size * (DEFLATE if packed else 1):
        raise InputError(
            f"{path}: truncated or damaged ({' x '.join(map(str, shape))} voxels take "
            f"{claimed:.4g} bytes, a file of {size} bytes cannot hold them); copy or export it "
            "again"
        )
    require_memory(claimed + voxels * _WORKING, path, "crop or resample it first")


def read_mask(path: Path, like: Volume | None = None) -> np.ndarray:
    """Reads a mask: any value above 0 is inside.

    Args:
        path: a NIfTI file.
        like: when given, the volume whose grid the mask must have.

    Returns:
        `(D, H, W)` bool.

    Raises:
        InputError: as `read_volume`, or the grids differ.
    """
    volume = read_volume(path)
    if like is not None:
        require_same_grid(path, volume, like)
    return volume.array > 0


MAX_CLASSES = 16
"""More classes than any lesion label has, and fewer than a parcellation of the brain."""


def read_label(path: Path, like: Volume | None = None) -> np.ndarray:
    """Reads a lesion label: every class above 0 is lesion (BraTS: the whole tumour).

    Args:
        path: a NIfTI file of whole numbers.
        like: when given, the volume whose grid the label must have.

    Returns:
        `(D, H, W)` bool.

    Raises:
        InputError: as `read_mask`, or values that no lesion label has: shares, negative numbers,
            or more than `MAX_CLASSES` classes.
    """
    volume = read_volume(path)
    if like is not None:
        require_same_grid(path, volume, like)
    values = np.unique(volume.array)
    odd = values[(values < 0) | (np.abs(values - np.rint(values)) > 1e-3)]
    if odd.size:
        raise InputError(
            f"{path}: holds {odd[0]:.3g}, a label holds whole numbers from 0 up; threshold it, or "
            "resample it again by nearest neighbour"
        )
    if np.count_nonzero(values) > MAX_CLASSES:
        raise InputError(
            f"{path}: holds {np.count_nonzero(values)} classes, a lesion label has few; give the "
            "lesion's own mask, not an image or a parcellation"
        )
    return volume.array > 0.5


def require_same_grid(path: Path, volume: Volume, like: Volume, tolerance_mm: float = 1e-2) -> None:
    """Raises InputError when `volume`, read from `path`, is not on the grid of `like`."""
    if volume.array.shape != like.array.shape:
        raise InputError(
            f"{path}: found grid {volume.array.shape}, expected {like.array.shape} as its image "
            "has; resample it to the image"
        )
    if not np.allclose(volume.affine, like.affine, atol=tolerance_mm):
        raise InputError(
            f"{path}: its affine differs from its image's; resample it to the image or mend the "
            "header"
        )


def write_volume(
    path: Path, array: np.ndarray, affine: np.ndarray, dtype: type = np.float32
) -> None:
    """Writes a NIfTI atomically, compressed where its name ends in `.gz`; same input, same bytes.

    Args:
        path: ends in `.nii` or `.nii.gz`.
        array: `(D, H, W)`.
        affine: `(4, 4)`, voxel to RAS mm.
        dtype: voxel type on disk (float32 for maps, uint8 for masks).
    """
    image = nib.nifti1.Nifti1Image(np.asarray(array, dtype=dtype), affine)
    image.header.set_xyzt_units("mm")
    _write(path, image.to_bytes())


_PLACE = (
    *("pixdim", "xyzt_units", "qform_code", "sform_code", "srow_x", "srow_y", "srow_z"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
)
"""Fields of a header that say where its voxels lie."""


def write_like(path: Path, array: np.ndarray, source: Path, dtype: type = np.float32) -> None:
    """Writes a `.nii.gz` on the grid of another file, with its sform, qform and their codes.

    Args:
        path: ends in `.nii` or `.nii.gz`.
        array: `(D, H, W)` on the grid of `source`.
        source: a file that `read_volume` reads.
        dtype: voxel type on disk (float32 for maps, uint8 for masks).
    """
    like = open_nifti(source)
    header = nib.nifti1.Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape(array.shape)
    for name in _PLACE:
        header[name] = like.header[name]
    # A fourth axis of length one has a size of its own there.
    header["pixdim"][4:] = 1
    image = nib.nifti1.Nifti1Image(np.asarray(array, dtype=dtype), like.affine, header)
    _write(path, image.to_bytes())


def write_changed(path: Path, source: Path, where: np.ndarray, values: np.ndarray) -> None:
    """Writes a copy of a NIfTI file in which some voxels are others, atomically.

    Header, extensions and all other voxels keep their bytes.

    Args:
        path: ends in `.nii` or `.nii.gz`.
        source: a file that `read_volume` reads.
        where: `(D, H, W)` bool.
        values: `(N,)` of `array[where]` in the units of `read_volume`; rounded and clipped to what
            the file's voxel type and scaling can hold.
    """
    stored: Any = open_nifti(source).dataobj
    with nib.openers.ImageOpener(str(source)) as file:
        # What is packed behind the voxels has no end that a header tells.
        content = bytearray(file.read(stored.offset + where.size * stored.dtype.itemsize))
    voxels = np.ndarray(where.shape, stored.dtype, content, stored.offset, order="F")
    values = (np.asarray(values, dtype=np.float64) - stored.inter) / stored.slope
    limits = np.iinfo(stored.dtype) if stored.dtype.kind in "iu" else np.finfo(stored.dtype)
    if stored.dtype.kind in "iu":
        values = np.rint(values)
    voxels[where] = np.clip(values, limits.min, limits.max).astype(stored.dtype)
    _write(path, content)


def _write(path: Path, content: bytes | bytearray) -> None:
    """Atomically, and zipped where the name says so; the same input gives the same bytes."""
    if path.suffix == ".gz":
        # Level 1: a fifth of the time of the default for a few per cent of size.
        content = gzip.compress(content, compresslevel=1, mtime=0)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__

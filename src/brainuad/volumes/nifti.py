"""Reading and writing NIfTI volumes, with errors that name the file and the remedy."""

import gzip
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from brainuad.errors import InputError
from brainuad.machine.files import atomic_path
from brainuad.types import Volume
from brainuad.volumes.grids import on_grid
from brainuad.volumes.header import Header, read_header
from brainuad.volumes.plane_files import TAKEN_BY


def read_volume(path: Path) -> Volume:
    """Read a 3D volume as float32 in the axes and grid of the file.

    Args:
        path: a `.nii` or `.nii.gz` file, or one of a NIfTI `.hdr` and `.img` pair.

    Raises:
        InputError: missing, unreadable, truncated, not a NIfTI, not grey, not 3D, a degenerate
            grid, or NaN or infinite voxels.
    """
    volume, _ = read_with_header(path)
    if not np.isfinite(volume.array).all():
        count = int((~np.isfinite(volume.array)).sum())
        raise InputError(f"{path}: {count} NaN or infinite voxels; replace them by numbers first")
    return volume


def read_with_header(path: Path) -> tuple[Volume, Header]:
    """Read a volume that may have NaN and infinite voxels, and its header; see `read_volume`."""
    array, header = read_voxels(path)
    if array.ndim != 3:
        remedy = TAKEN_BY if array.ndim < 3 else "split the series into volumes"
        raise InputError(
            f"{path}: found {array.ndim}D data of shape {array.shape}, expected one 3D volume; "
            f"{remedy}"
        )
    return Volume(array, header.affine), header


def read_voxels(path: Path) -> tuple[np.ndarray, Header]:
    """Read a file of any number of axes, float32, and its header; see `read_with_header`."""
    try:
        # Within the try: a folder that may not be entered says so here.
        if not path.is_file():
            raise InputError(
                f"{path}: no such file; check the path in the manifest or on the command"
            )
        header = read_header(path)
        if header.image.get_data_dtype().kind not in "biuf":
            kind = header.image.header.get_value_label("datatype")
            raise InputError(
                f"{path}: found voxels of type {kind}, expected grey ones; export it so"
            )
        # A scan of float64 may hold what float32 cannot; that is not finite then.
        with np.errstate(over="ignore"):
            array = np.asarray(header.image.dataobj, dtype=np.float32)
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
    return array, header


def open_nifti(path: Path) -> nib.nifti1.Nifti1Image:
    """The image of `read_header`: its affine is in the units of the file."""
    return read_header(path).image


def read_mask(path: Path, like: Volume | None = None) -> np.ndarray:
    """Read a mask: any value above 0 is inside.

    Args:
        path: a NIfTI file.
        like: when given, the volume whose grid the mask must have, see `on_grid`.

    Returns:
        `(D, H, W)` bool.

    Raises:
        InputError: as `read_volume`, or the grids differ.
    """
    return _on_grid(path, like).array > 0


MAX_CLASSES = 16
"""More classes than any lesion label has, and fewer than a parcellation of the brain."""


def read_label(
    path: Path, like: Volume | None = None, notes: list[str] | None = None
) -> np.ndarray:
    """Read a lesion label: every class above 0 is lesion (BraTS: the whole tumour).

    Args:
        path: a NIfTI file of whole numbers.
        like: when given, the volume whose grid the label must have, see `on_grid`.
        notes: gets what was odd.

    Returns:
        `(D, H, W)` bool.

    Raises:
        InputError: as `read_mask`, or values that no lesion label has: shares, negative numbers,
            or more than `MAX_CLASSES` classes.
    """
    volume = _on_grid(path, like, notes)
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


def _on_grid(path: Path, like: Volume | None, notes: list[str] | None = None) -> Volume:
    volume = read_volume(path)
    return volume if like is None else on_grid(path, volume, like, notes)


def write_volume(
    path: Path, array: np.ndarray, affine: np.ndarray, dtype: type = np.float32
) -> None:
    """Write a NIfTI atomically, compressed where its name ends in `.gz`; same input, same bytes.

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
"""Fields of a header with the place of its voxels."""


def write_like(path: Path, array: np.ndarray, source: Path, dtype: type = np.float32) -> None:
    """Write a `.nii.gz` on the grid of another file, with its sform, qform and their codes.

    Args:
        path: ends in `.nii` or `.nii.gz`.
        array: `(D, H, W)` on the grid of `source`.
        source: a file that `read_volume` reads.
        dtype: voxel type on disk (float32 for maps, uint8 for masks).
    """
    like = open_nifti(source)
    # With its broken fields mended: it is read where the scan is.
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
    """Write a copy of a NIfTI file in which some voxels are others, atomically.

    Header, extensions and all other voxels keep their bytes.

    Args:
        path: ends in `.nii` or `.nii.gz`.
        source: a file that `read_volume` reads.
        where: `(D, H, W)` bool.
        values: `(N,)` of `array[where]` in the units of `read_volume`; rounded and clipped to what
            the file's voxel type and scaling can hold.
    """
    header = read_header(source)
    if header.pair:
        raise InputError(f"{source}: header and voxels are two files; convert it to .nii.gz first")
    stored: Any = header.image.dataobj
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
    """Write atomically, and zip by the name; the same input gives the same bytes."""
    if path.suffix == ".gz":
        # Level 1: a fifth of the time of the default for a few per cent of size.
        content = gzip.compress(content, compresslevel=1, mtime=0)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__

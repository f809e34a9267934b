"""Siemens mosaics: the slices of a volume side by side in one image, and where each of them lies.

The tiles fill a square grid row by row. The header tells the position of a slice as large as the
mosaic, around the centre of the first; nibabel puts that right
(https://nipy.org/nibabel/dicom/dicom_mosaic.html).
"""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom

from brainuad.errors import InputError
from brainuad.machine.limits import require_memory
from brainuad.volumes.dicom.geometry import SAME_MM
from brainuad.volumes.dicom.headers import Image, lenient

_WORKING = 24  # bytes a voxel: the decoder's, up to float64, its tiles, and the volume twice

_PARALLEL = 0.99
"""Smallest cosine between the two slice normals in a header."""

_MOST = 1024
"""Largest number of slices; more are a damaged header."""

_REMEDY = (
    "export it as one file per slice or as enhanced DICOM, or convert it with dcm2niix to NIfTI"
)


def tiled(folder: Path, images: Sequence[Image]) -> list[Image]:
    """Give the images of one series, with the tiles of each mosaic in its place.

    Raises:
        InputError: mosaics beside single slices, or at several places; a header that tells too
            little of a mosaic, contradicts itself or is damaged; too little memory.
    """
    mosaics = [image for image in images if image.mosaic]
    if not mosaics:
        return list(images)
    if len(mosaics) < len(images):
        raise InputError(
            f"{folder}: {len(mosaics)} Siemens mosaics and {len(images) - len(mosaics)} single "
            "slices in one series; put each into a folder of its own"
        )
    found = [_tiles(mosaic) for mosaic in mosaics]
    # Tiles at one place are compared as slices are; others might fall in between.
    for tiles in found[1:]:
        if not _same_place(found[0], tiles):
            raise InputError(
                f"{folder}: several volumes in one series, {len(mosaics)} Siemens mosaics, with "
                f"{mosaics[0].name} and {tiles[0].file.name} at different places; put the one to "
                "use into a folder of its own"
            )
    return [tile for tiles in found for tile in tiles]


def tiles_of(tile: Image, whole: np.ndarray) -> np.ndarray:
    """Cut a decoded mosaic into its tiles.

    Args:
        tile: any tile.
        whole: `(1, rows, columns)` values.

    Returns:
        `(tiles, rows, columns)`.

    Raises:
        InputError: not one grey image of that size, or an image behind the last tile.
    """
    grid = _grid(tile.frames)
    rows, columns = tile.size
    if whole.shape != (1, grid * rows, grid * columns):
        raise InputError(
            f"{tile.file}: found {whole.shape} values, expected one grey image of "
            f"{grid * rows} x {grid * columns}; export it again"
        )
    cut = whole[0].reshape(grid, rows, grid, columns).swapaxes(1, 2).reshape(-1, rows, columns)
    for k, rest in enumerate(cut[tile.frames :], tile.frames + 1):
        if np.ptp(rest) > 0:
            raise InputError(
                f"{tile.file}: a Siemens mosaic of {tile.frames} slices, by its header, that "
                f"shows an image in tile {k}; {_REMEDY}"
            )
    found: np.ndarray = cut[: tile.frames]
    return found


def _grid(count: int) -> int:
    """Tiles along a side of a mosaic."""
    return math.isqrt(count - 1) + 1


def _same_place(one: Sequence[Image], other: Sequence[Image]) -> bool:
    if len(one) != len(other):
        return False
    ends = [
        np.array(a.position) - np.array(b.position)
        for a, b in ((one[0], other[0]), (one[-1], other[-1]))
        if a.position is not None and b.position is not None
    ]
    return all(np.linalg.norm(off) <= SAME_MM for off in ends)


@dataclass(frozen=True)
class _Told:
    """Values of a mosaic's header that a slice's lacks.

    Attributes:
        count: number of slices; 0 where it is not told.
        counts: every number of slices that is told.
        normal: unit vector from a slice to the next, LPS; None where it is not told.
        corner: LPS mm of the first voxel of the first slice; None where a tag is missing.
        measured: voxels of a slice, the shorter side first, before any interpolation; 0 where it
            is not told.
    """

    count: int
    counts: set[int]
    normal: np.ndarray | None
    corner: np.ndarray | None
    measured: tuple[int, int]


def _tiles(mosaic: Image) -> list[Image]:
    """The slices of a mosaic, in the order of its tiles."""
    rows, columns = mosaic.size
    require_memory(rows * columns * _WORKING, mosaic.file, "crop it first")
    try:
        with lenient():
            told = _told(mosaic)
    except Exception as error:
        # Broken private headers raise errors of every kind.
        line = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise InputError(
            f"{mosaic.file}: a Siemens mosaic with a damaged private (CSA) header ({line[:100]}); "
            "copy or export it again"
        ) from None
    _require_told(mosaic, told)
    grid = _grid(told.count)
    size = (rows // grid, columns // grid)
    # A grid that is not square cuts slices into pieces smaller than what was measured.
    small = min(size) < told.measured[0] or max(size) < told.measured[1]
    if rows % grid or columns % grid or small:
        raise InputError(
            f"{mosaic.file}: a Siemens mosaic of {rows} x {columns} voxels, which is no square "
            f"grid of {told.count} slices, the number in its header; {_REMEDY}"
        )
    return [
        replace(
            mosaic,
            frame=k,
            frames=told.count,
            size=size,
            position=place,
            # The header counts mosaics.
            expected=0,
            multi_frame=True,
        )
        for k, place in enumerate(_places(mosaic, told))
    ]


def _told(mosaic: Image) -> _Told:
    """Read the private header of a mosaic.

    Raises:
        Exception: it is damaged.
    """
    # Warns, on import, that it is for Siemens' files alone.
    from nibabel.nicom import csareader
    from nibabel.nicom.dicomwrappers import MosaicWrapper

    header = pydicom.dcmread(mosaic.file, stop_before_pixels=True, force=True)
    csa = csareader.get_csa_header(header) or {"tags": {}}
    count, normal = int(csareader.get_n_mosaic(csa) or 0), csareader.get_slice_normal(csa)
    counts = {count}
    with suppress(KeyError, TypeError, ValueError):
        counts.add(int(header.private_block(0x0019, "SIEMENS MR HEADER")[0x0A].value))
    placed = mosaic.position and mosaic.orientation and mosaic.spacing
    measured = (0, 0)
    with suppress(KeyError, TypeError, ValueError):
        # Of rows and columns by frequency and by phase, of which two are 0.
        least, most = sorted(int(side) for side in header[0x0018, 0x1310].value if side)
        measured = (least, most)
    return _Told(
        count=count,
        counts=counts,
        normal=None if normal is None else normal.astype(float),
        corner=MosaicWrapper(header, csa).image_position if placed and count else None,
        measured=measured,
    )


def _require_told(mosaic: Image, told: _Told) -> None:
    """Refuse a mosaic whose header does not state its tiles, or contradicts itself."""
    lacking = [
        name
        for name, there in (
            (
                "number of slices (CSA NumberOfImagesInMosaic)",
                1 < told.count <= _MOST and not mosaic.multi_frame,
            ),
            ("direction of slices (CSA SliceNormalVector)", told.normal is not None),
            ("distance of slices (0018,0088)", mosaic.between),
        )
        if not there
    ]
    if lacking:
        raise InputError(
            f"{mosaic.file.parent}: a Siemens mosaic, all slices side by side in one image, whose "
            f"header tells no usable {', no '.join(lacking)}; {_REMEDY}"
        )
    if len(told.counts) > 1:
        numbers = " and of ".join(map(str, sorted(told.counts)))
        raise InputError(
            f"{mosaic.file}: a Siemens mosaic whose header tells of {numbers} slices; {_REMEDY}"
        )


def _places(mosaic: Image, told: _Told) -> list[tuple[float, ...] | None]:
    """LPS mm of the first voxel of each slice, no true ones where a tag is missing.

    Raises:
        InputError: the two slice directions in the header contradict each other.
    """
    if told.corner is None or told.normal is None or mosaic.orientation is None:
        # It is refused with all slices, for what it lacks.
        return [mosaic.position] * told.count
    normal = np.cross(mosaic.orientation[:3], mosaic.orientation[3:])
    lengths = np.linalg.norm(normal) * np.linalg.norm(told.normal)
    cosine = float(normal @ told.normal) / max(float(lengths), 1e-6)
    if not abs(cosine) >= _PARALLEL:
        raise InputError(
            f"{mosaic.file}: a Siemens mosaic whose directions of slices, by SliceNormalVector "
            f"and by (0020,0037), contradict each other; {_REMEDY}"
        )
    # Only the sign is the private header's: the orientation is the more exact.
    step = np.copysign(mosaic.between or 0, cosine) * normal / np.linalg.norm(normal)
    steps = np.arange(told.count)[:, None] * step
    return [tuple(place) for place in (told.corner + steps).tolist()]

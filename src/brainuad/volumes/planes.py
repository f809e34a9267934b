"""2D images as volumes of one plane, and back.

An image is `(rows, columns)`, row 0 at its top. Its volume is `(D, H, 1)`: D runs along the
columns and H from the bottom row to the top one, so that an axial slice that is shown with anterior
up has the axes of our volumes (`brainuad.types`) and a NIfTI viewer shows it upright. Which side of
it is the patient's left, the image does not tell. The plane is as thick as a pixel is wide, and
the origin of the world is the middle of the image.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from brainuad.errors import InputError
from brainuad.machine.files import atomic_path
from brainuad.machine.limits import require_file
from brainuad.types import Volume
from brainuad.volumes.plane_files import ARRAYS, RASTERS, VOLUMES

MOST_PIXELS = 2**26
"""Largest number of pixels of an image: 8192 x 8192. A scanner writes a sixteenth of it."""

MOST_LABELS = 16
"""Labels in a mask of whole numbers: no more than this many, and none above it."""

_LUMINANCE = (0.299, 0.587, 0.114)


class Plane(NamedTuple):
    """A 2D image.

    Attributes:
        array: `(rows, columns)` float32, as stored; row 0 is the top.
        pixel_mm: height and width of a pixel if the file states them; None otherwise.
    """

    array: np.ndarray
    pixel_mm: tuple[float, float] | None = None


def write_png(path: Path, image: np.ndarray, said: str = "") -> None:
    """Write a grey PNG atomically; the same input gives the same bytes.

    Args:
        path: ends in `.png`.
        image: `(rows, columns)` uint8 or uint16.
        said: words of its text `Description`.
    """
    from PIL import Image, PngImagePlugin

    about = PngImagePlugin.PngInfo()
    if said:
        about.add_text("Description", said)
    with atomic_path(path) as temporary:
        Image.fromarray(image).save(temporary, "PNG", pnginfo=about)


def write_result_pngs(
    anomaly_path: Path, mask_path: Path, anomaly: np.ndarray, mask: np.ndarray
) -> None:
    """Write a slice's map, 16 bits, and mask, 0 and 255, on its image's own grid.

    What a pixel of the map means is said in its text: the whole range is the power of two that the
    highest score does not exceed, so that most maps of a method have one scale.

    Args:
        anomaly_path: ends in `.png`.
        mask_path: ends in `.png`.
        anomaly: `(D, H, 1)`, scores from 0 up; what is below is written as 0.
        mask: on its grid, bool.
    """
    highest = float(anomaly.max())
    top = 2.0 ** np.ceil(np.log2(highest)) if highest > 0 else 1.0
    levels = np.rint(np.clip(image_of(anomaly) / top, 0, 1) * 65535).astype(np.uint16)
    write_png(anomaly_path, levels, f"anomaly score = pixel * {top:.9g} / 65535")
    write_png(mask_path, image_of(mask).astype(np.uint8) * 255)


def is_slice(array: np.ndarray) -> bool:
    """Return whether a `(D, H, W)` array is a 2D image, `(D, H, 1)`."""
    return array.ndim == 3 and array.shape[2] == 1


def plane_volume(array: np.ndarray, pixel_mm: tuple[float, float]) -> Volume:
    """The volume of one plane that an image is.

    Args:
        array: `(rows, columns)`.
        pixel_mm: height and width of a pixel.
    """
    height, width = pixel_mm
    turned = np.ascontiguousarray(array.T[:, ::-1])[..., None]
    return Volume(turned, plane_affine(array.shape[::-1], (width, height)))


def plane_affine(shape: tuple[int, ...], edges_mm: tuple[float, float]) -> np.ndarray:
    """`(4, 4)` affine of a plane of `(D, H)` voxels of these edges, its middle at the origin."""
    edges = np.array([*edges_mm, float(np.sqrt(edges_mm[0] * edges_mm[1]))])
    affine = np.diag([*edges, 1.0])
    affine[:2, 3] = -edges[:2] * (np.array(shape[:2]) - 1) / 2
    return affine


def image_of(volume: np.ndarray) -> np.ndarray:
    """The image `(rows, columns)` of a `(D, H, 1)` array of `plane_volume`."""
    return np.ascontiguousarray(volume[..., 0][:, ::-1].T)


def read_plane(path: Path, channel: int | None = None) -> Plane:
    """Read a 2D image: PNG, TIFF, JPEG, NPY, or a NIfTI of one plane.

    Colours become luminance, an alpha channel is dropped.

    Args:
        path: path of the file.
        channel: index in an NPY of three axes, along the last one if it is the shortest, else the
            first.

    Raises:
        InputError: missing, damaged, too large, a stack of images, an array of several channels
            without `channel`, or pixels that are no numbers.
    """
    lower = path.name.lower()
    if lower.endswith(ARRAYS):
        return Plane(_read_array(path, channel))
    if channel not in (None, 0):
        raise InputError(f"{path}: channel {channel} of an image without channels; leave it empty")
    if lower.endswith(VOLUMES):
        return _read_nifti(path)
    if not lower.endswith(RASTERS):
        raise InputError(f"{path}: no PNG, TIFF, JPEG, NPY or NIfTI image; convert it to PNG")
    return Plane(_read_raster(path))


def read_plane_mask(path: Path, like: Plane, channel: int | None = None) -> np.ndarray:
    """Read the mask of an image.

    At most `MOST_LABELS` whole numbers up to that are labels: all above 0 is inside. Else it is a
    picture of a mask, and inside is what is brighter than half of the brightest.

    Args:
        path: path of the file.
        like: the image, which has its shape.
        channel: see `read_plane`.

    Returns:
        `(rows, columns)` bool.

    Raises:
        InputError: as `read_plane`, another shape than the image, or no numbers from 0 up.
    """
    array = read_plane(path, channel).array
    if array.shape != like.array.shape:
        found, own = (f"{rows} x {columns}" for rows, columns in (array.shape, like.array.shape))
        raise InputError(
            f"{path}: found {found} pixels (rows x columns), its image has {own}; give the mask "
            "on the image's own grid"
        )
    if not np.isfinite(array).all() or array.min() < 0:
        raise InputError(f"{path}: a mask holds numbers from 0 up, and no NaN; threshold it")
    values = np.unique(array)
    labels = len(values) <= MOST_LABELS and values[-1] <= MOST_LABELS
    if labels and np.array_equal(values, np.rint(values)):
        return array > 0
    return array > values[-1] / 2


def in_plane(structure: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A structuring element less its neighbours across the axes along which an array is one thick.

    Args:
        structure: `(n, n, n)` bool, n odd.
        shape: shape of the array, `(D, H, W)`.
    """
    found = structure.copy()
    for axis, length in enumerate(shape):
        if length == 1:
            middle = found.shape[axis] // 2
            view = np.moveaxis(found, axis, 0)
            view[np.arange(len(view)) != middle] = False
    return found


def filled(mask: np.ndarray, connectivity: int = 1) -> np.ndarray:
    """Fill the cavities of a mask, in one plane within that plane.

    Args:
        mask: `(D, H, W)` bool.
        connectivity: connectivity of the outside: 1 across faces, 3 across corners too.
    """
    structure = ndimage.generate_binary_structure(3, connectivity)
    return ndimage.binary_fill_holes(mask, in_plane(structure, mask.shape))


def _read_raster(path: Path) -> np.ndarray:
    """`(rows, columns)` float32."""
    from PIL import Image

    require_file(path)
    try:
        with Image.open(path, formats=("PNG", "TIFF", "JPEG")) as image:
            if (frames := getattr(image, "n_frames", 1)) > 1:
                raise InputError(f"{path}: a stack of {frames} images; give one file a slice")
            _require_pixels(path, image.height, image.width)
            coloured = image.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV")
            array = np.asarray(image.convert("RGB") if coloured else image)
    except PermissionError:
        raise InputError(f"{path}: not readable; check its permissions") from None
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: {error}; do not trust this file") from None
    except InputError:
        raise
    # Decoders of strangers' bytes raise whatever comes.
    except Exception as error:
        line = " ".join(str(error).split()).replace(str(path), "it") or type(error).__name__
        raise InputError(
            f"{path}: truncated, damaged or no image ({line}); copy it again"
        ) from None
    array = array.astype(np.float32)
    if array.ndim == 2:
        return array
    if array.shape[2] < 3:
        # Grey with alpha.
        return array[..., 0]
    red, green, blue = (array[..., i] for i in range(3))
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return red
    return array[..., :3] @ np.array(_LUMINANCE, np.float32)


def _read_array(path: Path, channel: int | None) -> np.ndarray:
    """`(rows, columns)` float32 of an NPY file."""
    require_file(path)
    try:
        # Mapped: a header that claims more than the file holds takes no memory.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except PermissionError:
        raise InputError(f"{path}: not readable; check its permissions") from None
    except Exception as error:
        line = " ".join(str(error).split())
        raise InputError(
            f"{path}: no plain NPY array ({line}); save it by numpy.save with numbers alone"
        ) from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        raise InputError(f"{path}: holds {array.dtype}, expected numbers; save it so")
    if array.ndim == 3:
        shortest = 2 if array.shape[2] == min(array.shape) else 0
        count = array.shape[shortest]
        if channel is None and count > 1:
            raise InputError(
                f"{path}: {count} channels or slices, of shape {array.shape}; give one file a "
                "slice, or the index of its channel in the table's column 'channel'"
            )
        if not 0 <= (channel or 0) < count:
            raise InputError(f"{path}: no channel {channel}, it has {count} (0 to {count - 1})")
        array = np.moveaxis(array, shortest, 0)[channel or 0]
    elif channel not in (None, 0):
        raise InputError(f"{path}: no channel {channel}, it has one; leave the column empty")
    if array.ndim != 2:
        raise InputError(f"{path}: an array of shape {array.shape}, expected one 2D image")
    _require_pixels(path, *array.shape)
    with np.errstate(over="ignore"):
        return np.array(array, dtype=np.float32)


def _read_nifti(path: Path) -> Plane:
    from brainuad.volumes.nifti import read_voxels
    from brainuad.volumes.orient import to_ras

    array, header = read_voxels(path)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3:
        raise InputError(f"{path}: {array.ndim}D data of shape {array.shape}, expected one slice")
    volume = to_ras(Volume(array, header.affine))
    thin = [axis for axis, length in enumerate(volume.array.shape) if length == 1]
    if len(thin) != 1:
        raise InputError(
            f"{path}: a volume of {' x '.join(map(str, volume.array.shape))} voxels, no slice; "
            "data=folder and brainuad-prepare take volumes"
        )
    width, height = (edge for axis, edge in enumerate(volume.spacing_mm) if axis != thin[0])
    array = np.squeeze(volume.array, thin[0])
    _require_pixels(path, *array.shape)
    return Plane(np.ascontiguousarray(array[:, ::-1].T), (height, width))


def _require_pixels(path: Path, rows: int, columns: int) -> None:
    if rows * columns > MOST_PIXELS or min(rows, columns) < 4:
        raise InputError(
            f"{path}: {rows} x {columns} pixels, expected 4 x 4 to {MOST_PIXELS} of them; check "
            "the file"
        )

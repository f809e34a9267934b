"""Reads the one DICOM series of a folder as a volume."""

import locale
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.filereader import read_file_meta_info

from brainuad.errors import InputError
from brainuad.machine.limits import require_memory
from brainuad.types import Volume
from brainuad.volumes.dicom.geometry import LEAST, sorted_stack
from brainuad.volumes.dicom.headers import Image, lenient
from brainuad.volumes.dicom.mosaic import tiled, tiles_of
from brainuad.volumes.dicom.series import the_series
from brainuad.volumes.itk import FLIP

_WORKING = 12  # bytes a voxel: float32, its copy in order, and one file's worth of the decoder's

_RAW = frozenset(
    {
        *("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"),
        *("1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5"),
    }
)
"""Transfer syntaxes that pydicom decodes by itself: not compressed, deflated, run lengths."""


class Stack(NamedTuple):
    """The slices of a series as they lie in its volume.

    Attributes:
        slices: slice `k` of the volume, transposed, is the image `slices[k]`.
        affine: `(4, 4)` LPS affine of `(column, row, slice)` indices, mm.
        voxels: decodes the slices.
        notes: oddities of the series.
    """

    slices: list[Image]
    affine: np.ndarray
    voxels: "_Voxels"
    notes: list[str]


def read_dicom(folder: Path) -> tuple[Volume, list[str]]:
    """Read the volume of the one DICOM series in a folder, with notes on what was odd.

    Raises:
        InputError: as `stack_of`, or a file of a form that is not read.
    """
    with quiet_gdcm():
        slices, affine, voxels, notes = stack_of(folder)
        rows, columns = slices[0].size
        require_memory(rows * columns * len(slices) * _WORKING, folder, "crop it first")
        array = np.empty((columns, rows, len(slices)), np.float32)
        for k, image in enumerate(slices):
            array[:, :, k] = voxels.of(image).T
    notes += _same_neighbours(array, affine)
    return Volume(array, FLIP @ affine), ["DICOM series", *notes]


def stack_of(folder: Path) -> Stack:
    """Sort the slices of the one DICOM series in a folder; only copied slices are decoded.

    Copied slices are passed over; phase images, other kinds of images and localizers beside the
    scan are left out, and all of these are noted.

    Raises:
        InputError: no series or several; a damaged file; several volumes in the series; missing
            or irregular slices.
    """
    series, notes = the_series(folder)
    _require_positions(series.images)
    images = tiled(folder, series.images)
    if series.modality not in ("", "MR"):
        notes.append(f"an image of modality {series.modality}, not MR")
    notes += series.notes
    voxels = _Voxels(images)
    slices, affine, more = sorted_stack(folder, images, voxels.equal)
    return Stack(slices, affine, voxels, notes + more)


@contextmanager
def quiet_gdcm() -> Iterator[None]:
    """Keep GDCM from warning about files that are not DICOM, and from changing the locale.

    It leaves the process in the C locale, in which Python reads text files as ASCII.
    """
    level = sitk.ProcessObject.GetGlobalWarningDisplay()
    before = locale.setlocale(locale.LC_ALL)
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(level)
        locale.setlocale(locale.LC_ALL, before)


def _require_positions(images: Sequence[Image]) -> None:
    unplaced = [i for i in images if i.multi_frame and i.position is None]
    if unplaced:
        raise InputError(
            f"{unplaced[0].file}: {unplaced[0].frames} frames of which the header tells no "
            "positions; export the series again as one file per slice, or as enhanced DICOM"
        )


class _Voxels:
    """Decodes images; a file of several is decoded once.

    Args:
        images: all images that may be requested.
    """

    def __init__(self, images: Sequence[Image]):
        self._one_scale = len({image.scaling for image in images}) == 1
        self._file: Path | None = None
        self._frames = np.empty(0)
        self._stored = False

    def of(self, image: Image) -> np.ndarray:
        """`(rows, columns)` float32.

        Raises:
            InputError: the file cannot be decoded.
        """
        stored = False
        if not image.multi_frame:
            frame = self._decoded(image.file)
        else:
            if image.file != self._file:
                self._frames, self._stored = self._several(image)
                self._file = image.file
            frame, stored = self._frames[image.frame : image.frame + 1], self._stored
        if frame.shape != (1, *image.size):
            raise InputError(
                f"{image.file}: found {frame.shape} values, expected one grey image of "
                f"{image.size[0]} x {image.size[1]}; export it again"
            )
        slope, intercept = (stored and image.scaling) or (1.0, 0.0)
        found: np.ndarray = frame[0].astype(np.float32) * np.float32(slope) + np.float32(intercept)
        return found

    def equal(self, one: Image, other: Image) -> bool:
        """Return whether two images hold the same voxels."""
        return np.array_equal(self.of(one), self.of(other))

    def _several(self, image: Image) -> tuple[np.ndarray, bool]:
        """`(frames, rows, columns)` values, and whether they are as stored, not yet scaled."""
        if image.mosaic:
            return tiles_of(image, self._decoded(image.file)), False
        try:
            with lenient():
                syntax = read_file_meta_info(image.file).TransferSyntaxUID
                if syntax in _RAW:
                    array = np.asarray(pydicom.dcmread(image.file).pixel_array)
                    return (array if image.frames > 1 else array[None]), True
        except Exception as error:
            raise _damaged(image.file, error) from None
        if not self._one_scale:
            # GDCM scales all frames by one slope.
            raise InputError(
                f"{image.file}: compressed frames, each with grey values of its own scale, which "
                "are not read; export it without compression, or convert it with dcm2niix"
            )
        return self._decoded(image.file), False

    def _decoded(self, file: Path) -> np.ndarray:
        """`(1, rows, columns)` scaled values, and a last axis for colours."""
        try:
            return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))
        except RuntimeError as error:
            raise _damaged(file, error) from None


def _damaged(file: Path, error: Exception) -> InputError:
    line = (str(error).strip().splitlines() or ["no reason is told"])[-1]
    return InputError(f"{file}: cut short or damaged ({line}); copy or export it again")


def _same_neighbours(array: np.ndarray, affine: np.ndarray) -> list[str]:
    """A note on neighbouring slices that hold the same image, which no scanner takes twice."""
    if array.shape[2] < LEAST:
        return []
    same = [
        k
        for k in range(array.shape[2] - 1)
        if np.ptp(array[:, :, k]) > 0 and np.array_equal(array[:, :, k], array[:, :, k + 1])
    ]
    if not same:
        return []
    normal = affine[:3, 2] / np.linalg.norm(affine[:3, 2])
    places = [float(normal @ (affine[:3, 3] + affine[:3, 2] * k)) for k in (same[0], same[0] + 1)]
    return [
        f"{len(same)} slices hold the same image as the next, such as at {places[0]:.4g} and "
        f"{places[1]:.4g} mm"
    ]

"""Scans as people have them: NIfTI files and folders of a DICOM series."""

import locale
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from brainuad.errors import InputError
from brainuad.types import Volume
from brainuad.volumes.itk import from_sitk
from brainuad.volumes.lost import head_of, require_outside, without_lost
from brainuad.volumes.nifti import read_with_header
from brainuad.volumes.plane_files import TAKEN_BY

OBLIQUE_DEGREES = 2.0
"""Voxel axes that lie further off the world's than this are said to be oblique."""


class RawVolume(NamedTuple):
    """A scan as it came.

    Attributes:
        volume: in its own axes; finite, background in place of what was not.
        notes: what was odd.
        sides_known: whether its header tells the left from the right.
        lost: `(D, H, W)` bool, voxels that were NaN or infinite; None where there are none.
        world: see `Header.world`.
    """

    volume: Volume
    notes: tuple[str, ...] = ()
    sides_known: bool = True
    lost: np.ndarray | None = None
    world: int = 0


def read_scan(path: Path) -> tuple[Volume, list[str]]:
    """Reads one 3D scan in its own axes, with notes on what was odd.

    Args:
        path: a NIfTI file as `read_volume` takes it, or a folder that holds one DICOM series.

    Raises:
        InputError: as `read_volume`, but that NaN outside the head is background; a folder with
            no series or several; an image that is all zero.
    """
    found = read_raw(path)
    if found.lost is not None:
        require_outside(path, found.lost, head_of(found.volume.array, found.lost))
    return found.volume, list(found.notes)


def read_native(path: Path) -> Volume:
    """Reads the file that a scan was prepared from, NaN outside the head as background."""
    volume, _ = read_with_header(path)
    filled, _ = without_lost(path, volume.array)
    return Volume(filled, volume.affine)


def read_raw(path: Path) -> RawVolume:
    """Reads one 3D scan wherever its NaN lie; see `read_scan`."""
    sides_known, world = True, 0
    if path.is_dir():
        volume, notes = _read_dicom(path)
    else:
        volume, header = read_with_header(path)
        notes, sides_known = list(header.notes), header.sides_known
        world = header.world
    if (degrees := obliqueness(volume.affine)) > OBLIQUE_DEGREES:
        notes.append(f"oblique by {degrees:.0f} degrees; its affine is followed")
    array, lost = without_lost(path, volume.array)
    if lost is not None:
        notes.append(f"{np.count_nonzero(lost)} NaN or infinite voxels are taken for background")
    if not array.any():
        raise InputError(f"{path}: all voxels are 0; export the scan again")
    if 1 in array.shape:
        raise InputError(
            f"{path}: a slice of {' x '.join(map(str, array.shape))} voxels, no volume of a head; "
            f"{TAKEN_BY}"
        )
    if volume.spacing_mm[0] * array.shape[0] < 1 or min(array.shape) < 4:
        raise InputError(
            f"{path}: found {array.shape} voxels of {np.round(volume.spacing_mm, 3)} mm, "
            "which is no volume of a head; check the header"
        )
    return RawVolume(Volume(array, volume.affine), tuple(notes), sides_known, lost, world)


def is_label_map(array: np.ndarray, most: int = 16) -> bool:
    """Whether an array holds two to `most` different values, all of them whole numbers."""
    if not np.array_equal(array, np.round(array)):
        return False
    return 1 < len(np.unique(array)) <= most


def obliqueness(affine: np.ndarray) -> float:
    """The largest angle in degrees between a voxel axis and the world axis nearest to it."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return float(np.rad2deg(np.arccos(np.clip(np.abs(axes).max(axis=0), 0, 1)).max()))


@contextmanager
def quiet_gdcm() -> Iterator[None]:
    """Keeps GDCM from warning about every file that is no DICOM, and from changing the locale.

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


def _only_files(folder: Path) -> None:
    """Refuse a folder with a pipe or a device in it: GDCM would wait for it for ever."""
    for path in folder.iterdir():
        if path.exists() and not path.is_file() and not path.is_dir():
            raise InputError(f"{path}: is a pipe or a device; take it out of the folder")


def dicom_series(folder: Path) -> list[str]:
    """The DICOM series that lie directly in a folder."""
    _only_files(folder)
    with quiet_gdcm():
        return list(sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder)))


def first_dicom_file(folder: Path) -> Path | None:
    """The first file of the first DICOM series that lies directly in a folder.

    None where there is no series. The header of each file is read once.
    """
    _only_files(folder)
    with quiet_gdcm():
        names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    return Path(names[0]) if names else None


def dicom_tags(file: Path, *tags: str) -> list[str]:
    """Texts of a DICOM file's header, such as `0008|103e`; empty where it has none."""
    reader = sitk.ImageFileReader()
    try:
        with quiet_gdcm():
            reader.SetFileName(str(file))
            reader.ReadImageInformation()
    except RuntimeError:
        # Its reading says what is the matter, when its turn comes.
        return ["" for _ in tags]
    return [reader.GetMetaData(t).strip() if reader.HasMetaDataKey(t) else "" for t in tags]


def _read_dicom(folder: Path) -> tuple[Volume, list[str]]:
    series = dicom_series(folder)
    if not series:
        raise InputError(f"{folder}: no DICOM series in this folder; give the series' own folder")
    if len(series) > 1:
        raise InputError(
            f"{folder}: holds {len(series)} DICOM series; put each into a folder of its own"
        )
    reader = sitk.ImageSeriesReader()
    try:
        with quiet_gdcm():
            names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0])
            reader.SetFileNames(names)
            image = reader.Execute()
    except RuntimeError as error:
        line = str(error).strip().splitlines()[-1]
        raise InputError(f"{folder}: unreadable DICOM series ({line}); export it again") from None
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(
            f"{folder}: found {image.GetDimension()}D images with "
            f"{image.GetNumberOfComponentsPerPixel()} channels, expected one grey 3D series"
        )
    return from_sitk(image), ["DICOM series"]

"""Scans as people have them: NIfTI files and folders of a DICOM series."""

import locale
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from brainuad.errors import InputError
from brainuad.types import Volume
from brainuad.volumes.itk import from_sitk
from brainuad.volumes.nifti import open_nifti, read_volume

CONFLICT_MM = 1.0
"""Corners that sform and qform put further apart than this are a conflict."""

OBLIQUE_DEGREES = 2.0
"""Voxel axes that lie further off the world's than this are said to be oblique."""


def read_scan(path: Path) -> tuple[Volume, list[str]]:
    """Reads one 3D scan in its own axes, with notes on what was odd.

    Args:
        path: `.nii`, `.nii.gz`, or a folder that holds one DICOM series.

    Raises:
        InputError: as `read_volume`; a folder with no series or several; an image that is all
            zero.
    """
    volume, notes = _read_dicom(path) if path.is_dir() else (read_volume(path), [])
    if not path.is_dir():
        notes = _header_notes(path)
    if (degrees := obliqueness(volume.affine)) > OBLIQUE_DEGREES:
        notes.append(f"oblique by {degrees:.0f} degrees; its affine is followed")
    if not volume.array.any():
        raise InputError(f"{path}: all voxels are 0; export the scan again")
    if volume.spacing_mm[0] * volume.array.shape[0] < 1 or min(volume.array.shape) < 4:
        raise InputError(
            f"{path}: found {volume.array.shape} voxels of {np.round(volume.spacing_mm, 3)} mm, "
            "which is no volume of a head; check the header"
        )
    return volume, notes


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


def _header_notes(path: Path) -> list[str]:
    header = open_nifti(path).header
    with nib.openers.ImageOpener(str(path)) as file:
        # As it is on disk: nibabel takes a voxel size of 0 for 1 mm.
        size = type(header).from_fileobj(file, check=False)["pixdim"][1:4]
    if int(header["sform_code"]) == 0 and not (np.abs(size) > 0).all():
        raise InputError(f"{path}: voxel size {size} mm is degenerate; mend the header")
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    if sform == 0 and qform == 0:
        return ["no orientation in the header: left and right are a guess, check the picture"]
    if sform and qform:
        shape = np.array(header.get_data_shape()[:3]) - 1
        corners = np.array(np.meshgrid(*[(0, n) for n in shape])).reshape(3, -1)
        both = np.vstack([corners, np.ones(8)])
        apart = np.linalg.norm(((header.get_sform() - header.get_qform()) @ both)[:3], axis=0).max()
        if apart > CONFLICT_MM:
            return [f"sform and qform differ by {apart:.1f} mm; the sform is used"]
    return []

"""Scans as people have them: NIfTI files and folders of a DICOM series."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from brainuad.errors import InputError
from brainuad.types import Volume
from brainuad.volumes.lost import head_of, require_outside, without_lost
from brainuad.volumes.nifti import read_with_header
from brainuad.volumes.plane_files import TAKEN_BY

OBLIQUE_DEGREES = 2.0
"""Largest angle between voxel axes and world axes that is not oblique."""


_NIFTI = (".nii", ".gz", ".img", ".hdr")


class RawVolume(NamedTuple):
    """A scan as it came.

    Attributes:
        volume: volume in its own axes, with background in place of voxels that are not finite.
        notes: oddities.
        sides_known: whether its header distinguishes left and right.
        lost: `(D, H, W)` bool, voxels that were NaN or infinite; None where there are none.
        world: see `Header.world`.
    """

    volume: Volume
    notes: tuple[str, ...] = ()
    sides_known: bool = True
    lost: np.ndarray | None = None
    world: int = 0


def read_scan(path: Path) -> tuple[Volume, list[str]]:
    """Read one 3D scan in its own axes, with notes on oddities.

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
    """Read the file that a scan was prepared from, NaN outside the head as background."""
    volume, _ = read_with_header(path)
    filled, _ = without_lost(path, volume.array)
    return Volume(filled, volume.affine)


def read_raw(path: Path) -> RawVolume:
    """Read one 3D scan wherever its NaN lie; see `read_scan`."""
    sides_known, world = True, 0
    if path.is_dir():
        # pydicom is imported for DICOM alone.
        from brainuad.volumes.dicom.read import read_dicom

        volume, notes = read_dicom(path)
    else:
        refuse_dicom_file(path)
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
    """Return whether an array holds two to `most` different values, all of them whole numbers."""
    if not np.array_equal(array, np.round(array)):
        return False
    return 1 < len(np.unique(array)) <= most


def obliqueness(affine: np.ndarray) -> float:
    """The largest angle in degrees between a voxel axis and the world axis nearest to it."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return float(np.rad2deg(np.arccos(np.clip(np.abs(axes).max(axis=0), 0, 1)).max()))


def refuse_dicom_file(path: Path) -> None:
    """Refuse one file of a DICOM series in place of the folder.

    Raises:
        InputError: it is one.
    """
    if path.suffix.lower() in _NIFTI:
        return
    from brainuad.volumes.dicom.headers import is_dicom

    if is_dicom(path):
        raise InputError(f"{path}: a DICOM file; give its folder {path.parent} instead")

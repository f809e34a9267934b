"""One slice through its preparation: a 2D image before, volumes of one plane after.

Nothing is registered and nothing cropped: images that share a grid still do.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from brainuad.cohorts.scans import RawScan
from brainuad.cohorts.slices import RawSlice
from brainuad.errors import InputError
from brainuad.machine.failures import Failures
from brainuad.preparation.background import cleared
from brainuad.preparation.quality.measures import measure
from brainuad.records.scan import ScanRecord
from brainuad.types import Volume
from brainuad.volumes.lost import head_of, require_outside, without_lost
from brainuad.volumes.masks import require_brain, require_lesion_of
from brainuad.volumes.nifti import write_volume
from brainuad.volumes.planes import (
    Plane,
    filled,
    plane_affine,
    plane_volume,
    read_plane,
    read_plane_mask,
)
from brainuad.volumes.read import is_label_map
from brainuad.volumes.resample import resample_like, smoothed

SPACING_MM = (0.1, 50.0)
"""Smallest and largest pixel size of a prepared slice."""

PIECE = 0.01
"""Least size of a piece of brain, of the largest one's: a slice may cut a brain in several."""


@dataclass(frozen=True)
class SlicePreparation:
    """Preparation of slices up to intensity normalisation.

    Args:
        spacing_mm: edge length of the prepared pixels in mm, a coarser grid after smoothing; None
            for each image's own pixels.
        pixel_mm: edge length of a pixel in mm, for images that do not state it.
        tolerance: share of the 99th percentile that still counts as background where no brain
            mask is given.
    """

    spacing_mm: float | None = 2.0
    pixel_mm: float = 1.0
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        low, high = SPACING_MM
        if self.spacing_mm is not None and not low <= self.spacing_mm <= high:
            raise InputError(
                f"data.spacing_mm is {self.spacing_mm}; use a number from {low:g} to {high:g}, or "
                "null for the image's own pixels"
            )


def prepare_slices(
    scans: Sequence[RawScan],
    preparation: SlicePreparation,
    out: Path,
    wanted: Collection[str] | None = None,
) -> tuple[list[ScanRecord], Failures]:
    """Prepare the sequences of one slice; see `brainuad.preparation.subject.prepare_subject`.

    Args:
        scans: scans of one slice, one per sequence.
        preparation: how.
        out: cohort folder; gets `work/`, `masks/` and `native/`.
        wanted: sequences to do; None for all.
    """
    records: list[ScanRecord] = []
    failures = Failures()
    for scan in scans:
        if wanted is None or scan.sequence in wanted:
            with failures.catching(scan.subject, scan.image):
                records.append(_prepared(scan, preparation, out))
    return records, failures


def _prepared(scan: RawScan, preparation: SlicePreparation, out: Path) -> ScanRecord:
    """Write one slice and return its record."""
    told = scan if isinstance(scan, RawSlice) else None
    plane = read_plane(scan.image, told.channel if told else None)
    pixel = plane.pixel_mm or (told.pixel_mm if told else preparation.pixel_mm,) * 2
    native = plane_volume(plane.array, pixel)
    notes: list[str] = []
    image = _image(scan.image, native, notes)
    brain = _brain(scan, plane, image, preparation)
    label = None
    if scan.lesion_mask is not None:
        mask = read_plane_mask(scan.lesion_mask, plane, told.lesion_channel if told else None)
        label = plane_volume(mask, pixel).array
        require_lesion_of(scan.lesion_mask, label, brain)
    name = f"{scan.subject}_{scan.sequence}"
    grid = _grid(native, preparation.spacing_mm)
    inside = _carried_mask(brain, native, grid)
    if not inside.any():
        raise InputError(
            f"{scan.image}: its brain is smaller than a pixel of {grid.spacing_mm[0]:g} mm"
        )
    quality = measure(Volume(image, native.affine), image, brain)
    moved = _carried(np.where(brain, np.maximum(image, 0), 0), native, grid)
    record = ScanRecord(
        subject=scan.subject,
        sequence=scan.sequence,
        image=f"work/{name}.nii.gz",
        brain_mask=f"masks/{name}_brain.nii.gz",
        lesion_mask=None if label is None else f"masks/{name}_lesion.nii.gz",
        transform=None,
        warp=None,
        native_image=str(out / "native" / f"{name}.nii.gz"),
        native_spacing_mm=native.spacing_mm,
        quality=quality,
        notes=tuple(notes),
        sides_known=False,
        native_lesion_mask=None if label is None else f"native/{name}_lesion.nii.gz",
        person=told.person if told else "",
    )
    write_volume(Path(record.native_image), native.array, native.affine)
    write_volume(out / record.image, moved, grid.affine)
    write_volume(out / record.brain_mask, inside, grid.affine, np.uint8)
    if record.lesion_mask and record.native_lesion_mask and label is not None:
        own = _carried_mask(label, native, grid)
        write_volume(out / record.lesion_mask, own, grid.affine, np.uint8)
        write_volume(out / record.native_lesion_mask, label, native.affine, np.uint8)
    return record


def _image(path: Path, native: Volume, notes: list[str]) -> np.ndarray:
    """The image with a background of 0.

    Raises:
        InputError: empty, a label map, or NaN within the head.
    """
    array, lost = without_lost(path, native.array)
    if lost is not None:
        require_outside(path, lost, head_of(array, lost))
        notes.append(f"{np.count_nonzero(lost)} NaN or infinite pixels are taken for background")
    if not array.any():
        raise InputError(f"{path}: all pixels are 0; leave it out")
    if is_label_map(array):
        raise InputError(
            f"{path}: looks like a mask, not an image; call it *_mask, or list the slices in a CSV"
        )
    clear, note = cleared(array)
    notes += [note] if note else []
    return clear


def _brain(
    scan: RawScan, plane: Plane, image: np.ndarray, preparation: SlicePreparation
) -> np.ndarray:
    """The brain mask that the source gives, or else what is not background.

    Raises:
        InputError: it is no mask of a brain.
    """
    if scan.brain_mask is not None:
        mask = plane_volume(read_plane_mask(scan.brain_mask, plane), (1, 1)).array
        require_brain(scan.brain_mask, mask)
        return mask
    magnitude = np.abs(image)
    foreground = magnitude > preparation.tolerance * np.percentile(magnitude, 99)
    labels, count = ndimage.label(foreground)
    if count == 0:
        raise InputError(f"{scan.image}: no brain found; give a brain mask")
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return filled((sizes >= PIECE * sizes.max())[labels])


def _grid(native: Volume, spacing_mm: float | None) -> Volume:
    """The prepared grid, empty: around the same middle, of the same extent, rounded up."""
    if spacing_mm is None or np.allclose(native.spacing_mm, spacing_mm, atol=1e-4):
        return Volume(np.zeros_like(native.array), native.affine)
    edges = np.array(native.array.shape[:2]) * native.spacing_mm[:2]
    shape = tuple(int(n) for n in np.ceil(edges / spacing_mm - 1e-6))
    affine = plane_affine(shape, (spacing_mm, spacing_mm))
    return Volume(np.zeros((*shape, 1), np.float32), affine)


def _carried(array: np.ndarray, native: Volume, grid: Volume) -> np.ndarray:
    """An array on the prepared grid, float32; smoothed before where that is coarser."""
    if grid.array.shape == native.array.shape and np.array_equal(grid.affine, native.affine):
        return np.asarray(array, np.float32)
    smooth = smoothed(Volume(array, native.affine), max(grid.spacing_mm))
    return resample_like(smooth, native.affine, grid)


def _carried_mask(mask: np.ndarray, native: Volume, grid: Volume) -> np.ndarray:
    """A mask on the prepared grid: the pixels at least half of which is inside."""
    return _carried(mask.astype(np.float32), native, grid) >= 0.5

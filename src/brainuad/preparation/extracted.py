"""Prepares one scan that is already brain-extracted: reorient, resample, crop, normalise."""

from pathlib import Path
from typing import Any

import numpy as np

from brainuad.data.folder import RawScan
from brainuad.data.nifti import read_label, read_mask, read_volume, write_volume
from brainuad.errors import InputError
from brainuad.preparation.brain import extracted_brain_mask
from brainuad.preparation.intensity import percentile_normalise
from brainuad.preparation.orient import to_ras
from brainuad.preparation.resample import crop_to_mask, resample_spacing
from brainuad.types import Volume


def prepare_extracted(
    scan: RawScan, out: Path, spacing_mm: float, percentiles: tuple[float, float]
) -> dict[str, Any]:
    """Writes the prepared image and masks of one scan under `out`.

    Args:
        scan: the scan as it came.
        out: cohort folder.
        spacing_mm: edge length of the prepared voxels in mm.
        percentiles: of the brain that become 0 and 1.

    Returns:
        What was written (paths relative to `out`) and what was done, for the scan's record.

    Raises:
        InputError: unreadable, a label map, masks on another grid, no brain, or a constant image.
    """
    raw = read_volume(scan.image)
    if _is_label_map(raw.array):
        raise InputError(
            f"{scan.image}: looks like a label map, not a scan; name a lesion mask "
            "*_lesion.nii.gz, a brain mask *_brain_mask.nii.gz, or list the scans in a CSV"
        )
    if scan.brain_mask is not None:
        inside = read_mask(scan.brain_mask, like=raw)
    else:
        inside = extracted_brain_mask(raw.array)
    image = _resampled(Volume(np.where(inside, raw.array, 0), raw.affine), spacing_mm)
    # Half of a voxel in the mask makes a voxel of the mask.
    mask = _resampled(Volume(inside.astype(np.float32), raw.affine), spacing_mm).array >= 0.5
    try:
        image, cropped = crop_to_mask(image, mask)
        normalised = percentile_normalise(image.array, cropped, *percentiles)
    except ValueError as error:
        raise InputError(
            f"{scan.image}: {error}; check that it is a brain-extracted scan"
        ) from None
    name = f"{scan.subject}_{scan.sequence}"
    image_path, brain_path = f"scans/{name}.nii.gz", f"masks/{name}_brain.nii.gz"
    lesion_path = None
    write_volume(out / image_path, normalised, image.affine)
    write_volume(out / brain_path, cropped, image.affine, np.uint8)
    if scan.lesion_mask is not None:
        lesion = read_label(scan.lesion_mask, like=raw).astype(np.float32)
        resampled, _ = crop_to_mask(_resampled(Volume(lesion, raw.affine), spacing_mm), mask)
        lesion_path = f"masks/{name}_lesion.nii.gz"
        write_volume(out / lesion_path, resampled.array >= 0.5, image.affine, np.uint8)
    return {
        "image": image_path,
        "brain_mask": brain_path,
        "lesion_mask": lesion_path,
        "steps": ["reorient to RAS", "resample", "crop to brain", "percentile normalise"],
        "spacing_mm": spacing_mm,
        "native_spacing_mm": raw.spacing_mm,
        "percentiles": percentiles,
        "brain_mask_source": "given" if scan.brain_mask else "non-background",
        "brain_ml": float(cropped.sum() * np.abs(np.linalg.det(image.affine[:3, :3])) / 1000),
    }


def _is_label_map(array: np.ndarray, most: int = 16) -> bool:
    """Whether it holds two to `most` distinct values, all of them integers."""
    if not np.array_equal(array, np.round(array)):
        return False
    return 1 < len(np.unique(array)) <= most


def _resampled(volume: Volume, spacing_mm: float) -> Volume:
    return resample_spacing(to_ras(volume), spacing_mm)

"""A scan before registration: read, reoriented, its brain found, its bias field corrected."""

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from brainuad.cohorts.find import RawScan
from brainuad.errors import InputError
from brainuad.preparation.bias import N4
from brainuad.preparation.quality import measures
from brainuad.preparation.skullstrip.auto import Auto
from brainuad.preparation.skullstrip.contract import SkullStrip
from brainuad.preparation.skullstrip.given import Given
from brainuad.types import Volume
from brainuad.volumes.nifti import read_label, read_mask, write_volume
from brainuad.volumes.orient import to_ras, turned_back, upright
from brainuad.volumes.read import read_scan


class Cleaned(NamedTuple):
    """A scan before registration.

    Attributes:
        scan: as it came.
        image: RAS axes, bias-corrected, zero outside the brain.
        brain_mask: on its grid.
        lesion: label on its grid, or None.
        record: what was done.
    """

    scan: RawScan
    image: Volume
    brain_mask: np.ndarray
    lesion: np.ndarray | None
    record: dict[str, Any]


def clean(
    scan: RawScan,
    skullstrip: SkullStrip,
    bias: N4 | None,
    out: Path,
    turn: np.ndarray | None = None,
) -> Cleaned:
    """Reads a scan, finds its brain and corrects its bias field.

    Args:
        scan: raw.
        skullstrip: finds the brain where the scan has no mask.
        bias: corrects the bias field; None leaves it.
        out: cohort folder; gets the file of a scan that is a DICOM series.
        turn: `(3, 3)`, how its head lies (`orient.turn_of`): the brain is looked for in the head
            upright, because what finds brains knows no others. The grid stays the scan's.

    Raises:
        InputError: unreadable, masks on another grid, or no brain found.
    """
    started = time.perf_counter()
    raw, notes = read_scan(scan.image)
    if is_label_map(raw.array):
        raise InputError(
            f"{scan.image}: looks like a label map, not a scan; name a lesion mask "
            "*_lesion.nii.gz, a brain mask *_brain_mask.nii.gz, or list the scans in a CSV"
        )
    native = scan.image
    if scan.image.is_dir():
        # The way back needs a file to go back to.
        native = out / "native" / f"{scan.subject}_{scan.sequence}.nii.gz"
        write_volume(native, raw.array, raw.affine)
    volume = to_ras(raw)
    try:
        if scan.brain_mask is not None:
            found_by: SkullStrip = Given()
            mask = _carried(read_mask(scan.brain_mask, like=raw), raw.affine)
        else:
            found_by = skullstrip.choose(volume) if isinstance(skullstrip, Auto) else skullstrip
            mask = found_by(volume if turn is None else upright(volume, turn))
            mask = mask if turn is None else turned_back(mask, volume, turn)
        if not mask.any():
            raise ValueError("no brain found")
        stripped = time.perf_counter()
        corrected, field = volume, None
        if bias is not None:
            corrected, field = bias(volume, mask)
    except ValueError as error:
        raise InputError(f"{scan.image}: {error}; check that it shows a head") from None
    label = scan.lesion_mask
    lesion = None if label is None else _carried(read_label(label, like=raw), raw.affine)
    done = time.perf_counter()
    record = {
        "native_image": str(native),
        "native_spacing_mm": raw.spacing_mm,
        "native_axes": "".join(_axes(raw.affine)),
        "notes": notes,
        "skullstrip": {"by": repr(found_by), "seconds": round(stripped - started, 1)},
        "bias": None
        if field is None
        else {
            "field_range": [float(v) for v in np.percentile(field.array[mask], [1, 99])],
            "seconds": round(done - stripped, 1),
        },
        "quality": measures.measure(volume, corrected.array, mask),
    }
    inside = np.where(mask, np.maximum(corrected.array, 0), 0).astype(np.float32)
    return Cleaned(scan, Volume(inside, volume.affine), mask, lesion, record)


def is_label_map(array: np.ndarray, most: int = 16) -> bool:
    """Whether it holds two to `most` distinct values, all of them integers."""
    if not np.array_equal(array, np.round(array)):
        return False
    return 1 < len(np.unique(array)) <= most


def _carried(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return to_ras(Volume(mask.astype(np.float32), affine)).array > 0.5


def _axes(affine: np.ndarray) -> tuple[str, ...]:
    import nibabel as nib

    return tuple(str(code) for code in nib.aff2axcodes(affine))

"""From a folder of maps to 3D masks in native space."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.progress import track

from brainuad.cohorts.manifest import Scan
from brainuad.errors import InputError
from brainuad.inference.maps import Failures
from brainuad.postprocess.native import native_map, native_mask
from brainuad.postprocess.pipeline import Postprocess
from brainuad.types import Volume
from brainuad.volumes.nifti import read_mask, read_volume, write_volume
from brainuad.volumes.planes import is_slice, write_result_pngs


def write_masks(
    scans: Sequence[Scan], maps: Path, out: Path, postprocess: Postprocess, threshold: float
) -> Failures:
    """Writes the map and the 3D mask of each scan in its native space, and the prepared mask.

    Args:
        scans: whose maps are in `maps`.
        maps: folder of `write_maps`; `<subject>_mask.nii.gz` on the prepared grid is added there.
        out: gets `<subject>_anomaly.nii.gz` (post-processed, what the threshold applies to) and
            `<subject>_mask.nii.gz` on the native grid; of slices the same as `.png`.
        postprocess: the run's chain.
        threshold: of the post-processed map.
    """
    failures: Failures = []
    for scan in track(scans, description="writing masks"):
        try:
            _write_mask(scan, maps, out, postprocess, threshold)
        except InputError as error:
            failures.append((scan.subject, str(error)))
    return failures


def _write_mask(
    scan: Scan, maps: Path, out: Path, postprocess: Postprocess, threshold: float
) -> None:
    raw = read_volume(maps / f"{scan.subject}_anomaly.nii.gz")
    brain_mask = read_mask(scan.brain_mask, like=raw)
    score = postprocess.score(raw.array, brain_mask, raw.spacing_mm)
    mask = postprocess.segment(score, brain_mask, raw.spacing_mm, threshold)
    write_volume(maps / f"{scan.subject}_mask.nii.gz", mask, raw.affine, np.uint8)
    prepared = Volume(score, raw.affine)
    found = native_map(prepared, brain_mask, scan.space, masks_last=postprocess.masks_last)
    native = found.score
    segmented = native_mask(found, postprocess, threshold)
    write_volume(out / f"{scan.subject}_anomaly.nii.gz", found.inside, native.affine)
    write_volume(out / f"{scan.subject}_mask.nii.gz", segmented, native.affine, np.uint8)
    if is_slice(segmented):
        write_result_pngs(
            out / f"{scan.subject}_anomaly.png",
            out / f"{scan.subject}_mask.png",
            found.inside,
            segmented,
        )

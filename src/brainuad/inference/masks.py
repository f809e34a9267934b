"""Turn a folder of maps into 3D masks in native space."""

from collections.abc import Sequence

import numpy as np
from rich.progress import track

from brainuad.cohorts.manifest import Scan
from brainuad.cohorts.map_folder import MapFolder
from brainuad.inference.maps import scored
from brainuad.machine.failures import Failures
from brainuad.postprocess.native import native_map, native_mask
from brainuad.postprocess.pipeline import Postprocess
from brainuad.volumes.nifti import write_volume
from brainuad.volumes.planes import is_slice, write_result_pngs


def write_masks(
    scans: Sequence[Scan],
    maps: MapFolder,
    out: MapFolder,
    postprocess: Postprocess,
    threshold: float,
    failures: Failures,
) -> None:
    """Write the map and the 3D mask of each scan in its native space, and the prepared mask.

    Args:
        scans: their maps are in `maps`.
        maps: gets the masks on the prepared grid.
        out: gets the anomaly maps (post-processed, as the threshold applies to them) and the masks
            on the native grid; of slices the same as `.png`.
        postprocess: the run's chain.
        threshold: marks the post-processed map where it is exceeded.
        failures: gets each scan without a mask.
    """
    for scan in track(scans, description="writing masks"):
        with failures.catching(scan.subject):
            _write_mask(scan, maps, out, postprocess, threshold)


def _write_mask(
    scan: Scan, maps: MapFolder, out: MapFolder, postprocess: Postprocess, threshold: float
) -> None:
    prepared, brain_mask = scored(scan, maps, postprocess)
    mask = postprocess.segment(prepared.array, brain_mask, prepared.spacing_mm, threshold)
    write_volume(maps.file(scan.subject, "mask"), mask, prepared.affine, np.uint8)
    found = native_map(prepared, brain_mask, scan.space, masks_last=postprocess.masks_last)
    affine = found.score.affine
    segmented = native_mask(found, postprocess, threshold)
    files = [out.file(scan.subject, kind) for kind in ("anomaly", "mask")]
    write_volume(files[0], found.inside, affine)
    write_volume(files[1], segmented, affine, np.uint8)
    if is_slice(segmented):
        names = (path.name.replace(".nii.gz", ".png") for path in files)
        pictures = [out.path / name for name in names]
        write_result_pngs(pictures[0], pictures[1], found.inside, segmented)

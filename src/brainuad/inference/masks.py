"""3D masks in native space, made of a folder of maps."""

from collections.abc import Sequence

import numpy as np
from rich.progress import track

from brainuad.cohorts.manifest import Scan
from brainuad.cohorts.map_folder import MapFolder
from brainuad.evaluation.score_maps import ScoreMaps
from brainuad.machine.failures import Failures
from brainuad.postprocess.native import NativeMap, native_mask
from brainuad.volumes.nifti import write_volume
from brainuad.volumes.planes import is_slice, write_result_pngs


def write_masks(
    scans: Sequence[Scan],
    maps: ScoreMaps,
    out: MapFolder,
    threshold: float,
    failures: Failures,
) -> None:
    """Write the map and the 3D mask of each scan in its native space, and the prepared mask.

    Args:
        scans: scans to mark.
        maps: their maps; the folder of the raw maps gets the masks on the prepared grid.
        out: folder for the post-processed maps and the masks on the native grid; slices also as
            `.png`.
        threshold: voxels of the post-processed map above it are marked.
        failures: gets each scan without a mask.
    """
    for scan in track(scans, description="writing masks"):
        with failures.catching(scan.subject):
            _write_mask(scan, maps, out, threshold)


def _write_mask(scan: Scan, maps: ScoreMaps, out: MapFolder, threshold: float) -> None:
    prepared = maps.prepared(scan)
    mask = native_mask(NativeMap(*prepared[:2]), maps.postprocess, threshold)
    write_volume(maps.maps.file(scan.subject, "mask"), mask, prepared.score.affine, np.uint8)
    native = NativeMap(*maps.native(scan)[:2])
    mask = native_mask(native, maps.postprocess, threshold)
    files = [out.file(scan.subject, kind) for kind in ("anomaly", "mask")]
    write_volume(files[0], native.inside, native.score.affine)
    write_volume(files[1], mask, native.score.affine, np.uint8)
    if is_slice(mask):
        names = (path.name.replace(".nii.gz", ".png") for path in files)
        pictures = [out.path / name for name in names]
        write_result_pngs(pictures[0], pictures[1], native.inside, mask)

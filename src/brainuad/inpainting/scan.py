"""Inpaint the lesion of one scan in memory; files are read and written elsewhere."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from brainuad.cohorts.scans import RawScan
from brainuad.inpainting.detail import with_mirrored_detail
from brainuad.inpainting.fill import blended, carried_hole, smooth_fill, with_rim
from brainuad.methods.base import AnomalyDetector
from brainuad.postprocess.native import LEAST_SHARE, native_array, native_image
from brainuad.preparation.normalise.intensity import Normalise
from brainuad.preparation.pipeline import Preparation
from brainuad.preparation.subject import prepare_subject
from brainuad.types import Space, Volume
from brainuad.volumes.native_space import read_way
from brainuad.volumes.nifti import read_mask, read_volume, write_volume
from brainuad.volumes.tiling import Tiling

MOST = 0.5
"""Largest share of the brain that a mask may cover, because the filling is predicted from the rest.
"""


class Inpainted(NamedTuple):
    """The change to a scan.

    Attributes:
        where: `(D, H, W)` bool on the native grid, the voxels that change.
        values: `(N,)` of these, in native units.
    """

    where: np.ndarray
    values: np.ndarray


class Prepared(NamedTuple):
    """A scan in the space of the model, before normalisation.

    Attributes:
        image: bias-corrected, zero outside the brain.
        brain_mask: `(D, H, W)` bool on its grid.
        space: the way from its grid to that of the scan.
    """

    image: Volume
    brain_mask: np.ndarray
    space: Space


def inpaint_scan(
    detector: AnomalyDetector,
    tiling: Tiling,
    volume: Volume,
    hole: np.ndarray,
    steps: Preparation,
    normalise: Normalise,
    sequence: str,
    brain_mask: Path | None = None,
    batch_size: int = 32,
    detail_mm: float = 6.0,
) -> Inpainted:
    """Fill the marked region of a scan.

    First a membrane closes the region, so that no step of the preparation (brain extraction, bias
    field, registration) sees a lesion or the zeros of a voided scan. The scan is registered to the
    atlas also for models of slices, because slices in another orientation than those of the
    training would look abnormal.

    Args:
        detector: with a method `inpaint(image, hole)`, on the device to use.
        tiling: how the detector wants its input cut.
        volume: the scan in its own axes.
        hole: `(D, H, W)` bool on its grid, the region to fill.
        steps: preparation of the model's training scans.
        normalise: normalisation of the model's training scans; linear in the intensities.
        sequence: sequence of the scan.
        brain_mask: file on the scan's grid; None to find the brain.
        batch_size: tiles per forward pass.
        detail_mm: finer detail is copied from the other half of the brain; 0 for none.

    Raises:
        ValueError: the scan cannot be prepared, the region covers no brain or too much of it, or
            `normalise` cannot be inverted.
    """
    closed = volume.array.copy()
    closed[hole] = smooth_fill(volume.array, hole, ~hole, volume.spacing_mm)
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare_scan(
            Volume(closed, volume.affine), steps, sequence, Path(folder), brain_mask
        )
        image, brain, space = prepared
        # With a rim, where the filling can be compared with the scan.
        inside = carried_hole(with_rim(hole), volume.affine, image, space) & brain
        if not inside.any():
            raise ValueError("no voxel of the mask lies in its brain; check that they belong")
        if inside.sum() > MOST * brain.sum():
            share = 100 * inside.sum() / brain.sum()
            raise ValueError(f"the mask covers {share:.0f} % of its brain; mark the lesion alone")
        seen = normalise(image.array, brain & ~inside)
        slope, intercept = _way_back(seen, image.array, brain & ~inside)
        filled = inpaint_volume(
            detector,
            tiling,
            torch.from_numpy(seen)[None],
            torch.from_numpy(inside)[None],
            batch_size,
        )[0].numpy()
        if detail_mm > 0:
            filled = with_mirrored_detail(filled, inside, brain, image.spacing_mm, detail_mm)
        laid = np.where(inside, intercept + slope * filled, image.array)
        laid, share = native_image(Volume(laid, image.affine), brain, space, volume)
        near = Volume(inside.astype(np.float32), image.affine)
        painted = native_array(near, volume, space) > 0
    native_brain = share > LEAST_SHARE
    where = hole & native_brain
    if not where.any():
        raise ValueError("no voxel of the mask lies in its brain; check that they belong")
    values = blended(laid, volume.array, hole, painted, native_brain, volume.affine)
    return Inpainted(where, values)


def prepare_scan(
    volume: Volume,
    steps: Preparation,
    sequence: str,
    folder: Path,
    brain_mask: Path | None = None,
) -> Prepared:
    """Prepare one scan as `brainuad-prepare`, up to normalisation.

    Args:
        volume: in its own axes.
        steps: the preparation.
        sequence: sequence of the scan.
        folder: empty folder for the files of the preparation.
        brain_mask: file on the scan's grid; None to find the brain.

    Raises:
        ValueError: no brain was found, it could not be registered, or the mask is on another grid.
    """
    path = folder / "scan.nii.gz"
    write_volume(path, volume.array, volume.affine)
    raw = RawScan("scan", sequence, path, healthy=False, brain_mask=brain_mask)
    records, failures = prepare_subject([raw], steps, folder)
    if failures:
        # The caller puts the scan's own name in front.
        raise ValueError(failures[0][1].removeprefix(f"{path}: "))
    record = records[0]
    image = read_volume(folder / record.image)
    way = read_way(folder / record.transform) if record.transform else ()
    brain = read_mask(folder / record.brain_mask, like=image)
    return Prepared(image, brain, Space(path, way))


def inpaint_volume(
    detector: AnomalyDetector,
    tiling: Tiling,
    image: Tensor,
    hole: Tensor,
    batch_size: int = 32,
) -> Tensor:
    """Fill the region of a whole volume, tile by tile; other tiles are not computed.

    Args:
        detector: with a method `inpaint(image, hole)`, on the device to use.
        tiling: how the detector wants its input cut.
        image: `(C, D, H, W)` in [0, 1], 0 in the region.
        hole: `(1, D, H, W)` bool.
        batch_size: tiles a forward pass.

    Returns:
        `(C, D, H, W)` in [0, 1] on the CPU; `image` outside the region.
    """
    tiles, locations = tiling.split(image)
    holes = tiling.split(hole.to(torch.uint8))[0].bool()
    for index in holes.flatten(1).any(1).nonzero()[:, 0].split(batch_size):
        given = tiles[index].to(detector.device), holes[index].to(detector.device)
        with torch.no_grad():
            tiles[index] = detector.inpaint(*given).float().cpu()  # type: ignore[operator]
    shape = (image.shape[1], image.shape[2], image.shape[3])
    return torch.where(hole, tiling.join(tiles, locations, shape).clamp(0, 1), image)


def _way_back(seen: np.ndarray, image: np.ndarray, where: np.ndarray) -> tuple[float, float]:
    """Return slope and intercept that undo a linear normalisation.

    Raises:
        ValueError: the normalisation is not linear.
    """
    x, y = seen[where].astype(np.float64), image[where].astype(np.float64)
    # Clipped values are not on the line.
    between = (x > 0) & (x < 1)
    slope, intercept = np.polyfit(x[between], y[between], 1)
    if np.abs(intercept + slope * x[between] - y[between]).max() > 1e-3 * abs(slope):
        raise ValueError(
            "preparation/normalise is not linear in the intensities, so there is no way back; use "
            "percentile, zscore or mode"
        )
    return float(slope), float(intercept)

"""Anomaly map of a prepared volume by a method: tiles, mirror image, training grid."""

import numpy as np
import torch
from torch import Tensor

from brainuad.cohorts.places import laid
from brainuad.errors import InputError
from brainuad.methods.base import AnomalyDetector
from brainuad.methods.parts.random_draws import averaged
from brainuad.types import Detection
from brainuad.volumes.grids import EXACT, Grid, lay
from brainuad.volumes.tiling import Tiling


def detect_volume(
    method: AnomalyDetector,
    tiling: Tiling,
    image: Tensor,
    brain_mask: Tensor,
    batch_size: int = 32,
    affine: np.ndarray | None = None,
    *,
    grid: Grid | None = None,
    flips: bool = False,
) -> Detection:
    """Score a whole volume tile by tile, then let the method judge it as a whole.

    Args:
        method: method, on the device to use.
        tiling: cuts the volume into tiles.
        image: `(C, D, H, W)`, input of the method.
        brain_mask: `(1, D, H, W)` bool.
        batch_size: tiles per forward pass.
        affine: `(4, 4)`, voxels to their world in mm, for methods that depend on the position
            (`AnomalyDetector.affine`); None for the grid of the training scans.
        grid: grid of the training scans, for methods that depend on the position. A volume on
            another grid is resampled to it by its affine, and the maps are resampled back.
        flips: True also scores the left-right mirror image and averages both; `uncertainty` then
            includes the difference between the two.

    Returns:
        `Detection` without batch axis, on the CPU.

    Raises:
        InputError: the scan does not overlap the grid of the training scans.
    """
    own = None if affine is None else Grid(tuple(image.shape[1:]), affine)
    if own is not None and grid is not None and own.apart(grid) > EXACT:
        try:
            placed, mask = laid(image, brain_mask, own.affine, grid)
        except InputError:
            if method.traits.places == "required":
                raise
        else:
            found = _detect_both(method, tiling, placed, mask, batch_size, grid.affine, flips)
            return _back(method.judge_scan(found, placed), grid, own, brain_mask)
    found = _detect_both(method, tiling, image, brain_mask, batch_size, affine, flips)
    return method.judge_scan(found, image)


def _back(found: Detection, grid: Grid, own: Grid, brain_mask: Tensor) -> Detection:
    """Resample maps from one grid to another; 0 outside the brain."""
    parts: list[Tensor | None] = []
    for part in found:
        if part is None:
            parts.append(None)
            continue
        moved = [torch.from_numpy(lay(one, grid.affine, own)) for one in part.numpy()]
        parts.append(torch.where(brain_mask, torch.stack(moved), 0))
    return Detection._make(parts)


def _detect_both(
    method: AnomalyDetector,
    tiling: Tiling,
    image: Tensor,
    brain_mask: Tensor,
    batch_size: int,
    affine: np.ndarray | None,
    flips: bool,
) -> Detection:
    method.affine = affine
    found = _detect_tiles(method, tiling, image, brain_mask, batch_size)
    if not flips:
        return found
    if affine is not None:
        turn = np.diag([-1.0, 1.0, 1.0, 1.0])
        turn[0, 3] = image.shape[1] - 1
        method.affine = affine @ turn
    mirrored = _detect_tiles(method, tiling, image.flip(1), brain_mask.flip(1), batch_size)
    back = (None if part is None else part.flip(1) for part in mirrored)
    return averaged([found, Detection._make(back)])


def _detect_tiles(
    method: AnomalyDetector, tiling: Tiling, image: Tensor, brain_mask: Tensor, batch_size: int
) -> Detection:
    shape = (image.shape[1], image.shape[2], image.shape[3])
    tiles, locations = tiling.split(image)
    masks = tiling.split(brain_mask.to(torch.uint8))[0].bool()
    parts: dict[str, Tensor] = {"anomaly_map": tiles.new_zeros(len(tiles), 1, *tiles.shape[2:])}
    # A tile without brain scores zero by contract.
    wanted = masks.flatten(1).any(1) | method.traits.keeps_background
    todo = wanted.nonzero()[:, 0]
    for index in todo.split(batch_size):
        found = method.detect(tiles[index].to(method.device), masks[index].to(method.device))
        for name, values in found._asdict().items():
            if values is not None:
                empty = tiles.new_zeros(len(tiles), values.shape[1], *tiles.shape[2:])
                parts.setdefault(name, empty)[index] = values.cpu()
    joined = {name: tiling.join(part, locations, shape) for name, part in parts.items()}
    return Detection(
        joined["anomaly_map"],
        *(joined.get(name) for name in ("reconstruction", "uncertainty", "draws")),
    )

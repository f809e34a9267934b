"""Resampling between grids in TorchScript, as `brainuad.volumes.grids.lay` does it."""

import torch
from torch import Tensor


def lost(inside: Tensor, affine: Tensor, grid: Tensor, shape: list[int]) -> float:
    """Return the share of a brain's voxels outside a grid."""
    places = torch.nonzero(inside).double()
    way = torch.linalg.inv(grid) @ affine
    moved = places @ way[:3, :3].T + way[:3, 3]
    most = torch.tensor(shape, device=moved.device).double() - 0.499
    away = ((moved < -0.501) | (moved > most)).any(1)
    return float(away.double().mean()) if away.shape[0] > 0 else 0.0


def lay(array: Tensor, affine: Tensor, grid: Tensor, shape: list[int]) -> Tensor:
    """Resample `(D, H, W)` linearly to a grid, smoothed where that is coarser; 0 outside."""
    own = affine[:3, :3].square().sum(0).sqrt()
    coarse = float(grid[:3, :3].square().sum(0).sqrt().max())
    for axis in range(3):
        wide = coarse**2 - float(own[axis]) ** 2
        if wide > 1e-9:
            array = blurred(array, axis, wide**0.5 / 2.355 / float(own[axis]))
    way = torch.linalg.inv(affine) @ grid
    found = torch.zeros(shape, device=array.device)
    rows = torch.arange(shape[1], device=array.device).double()
    columns = torch.arange(shape[2], device=array.device).double()
    y, x = torch.meshgrid([rows, columns], indexing="ij")
    for number in range(shape[0]):
        point = torch.stack([torch.full_like(y, float(number)), y, x])
        at = torch.einsum("ij,jrc->irc", way[:3, :3], point) + way[:3, 3].reshape(3, 1, 1)
        # Rounding of the affines moves no voxel out of the array.
        near = at.round()
        at = torch.where((at - near).abs() < 1e-6, near, at)
        found[number] = sampled(array, at)
    return found


def sampled(array: Tensor, at: Tensor) -> Tensor:
    """Return the values at `(3, H, W)` places, linearly interpolated; 0 outside."""
    total = torch.zeros(at.shape[1:], dtype=torch.float64, device=array.device)
    inside = torch.ones_like(total, dtype=torch.bool)
    for axis in range(3):
        inside = inside & (at[axis] >= 0) & (at[axis] <= array.shape[axis] - 1)
    low = at.floor()
    for corner in range(8):
        weight = inside.double()
        place = torch.zeros(at.shape[1:], dtype=torch.int64, device=array.device)
        for axis in range(3):
            step = (corner >> axis) & 1
            share = at[axis] - low[axis]
            weight = weight * (share if step == 1 else 1 - share)
            index = (low[axis].long() + step).clamp(0, array.shape[axis] - 1)
            place = place * array.shape[axis] + index
        total += weight * array.flatten()[place.flatten()].reshape(place.shape)
    return total.float()


def blurred(array: Tensor, axis: int, sigma: float) -> Tensor:
    """Smooth along an axis by a Gaussian cut at 4 sigma, the border repeated."""
    radius = int(4 * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1, device=array.device).double()
    weights = torch.exp(-0.5 / sigma**2 * offsets.square())
    weights = weights / weights.sum()
    length = array.shape[axis]
    places = torch.arange(length, device=array.device)
    total = torch.zeros_like(array, dtype=torch.float64)
    for number in range(2 * radius + 1):
        index = (places + number - radius).clamp(0, length - 1)
        total += weights[number] * array.index_select(axis, index)
    return total.float()

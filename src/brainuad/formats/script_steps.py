"""Quantiles, medians and erosion in TorchScript, as numpy and `brainuad.postprocess` do them."""

import torch
from torch import Tensor
from torch.nn import functional


def quantile(values: Tensor, share: float) -> Tensor:
    """Return a quantile, linearly interpolated, float64."""
    ordered = values.flatten().sort().values.double()
    place = share * (ordered.shape[0] - 1)
    low = int(place)
    high = min(low + 1, ordered.shape[0] - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def median(
    found: Tensor, inside: Tensor, spacing: Tensor, size_mm: float, in_plane: bool
) -> Tensor:
    """Return the median over a box around each voxel of the brain."""
    padded, sizes = found, [1, 1, 1]
    for axis in range(3):
        radius = 0
        if found.shape[axis] > 1 and not (in_plane and axis == 2):
            # Round half to even, as Python does.
            radius = max(int(torch.round((size_mm / spacing[axis] - 1) / 2)), 0)
        length = found.shape[axis]
        index = torch.arange(-radius, length + radius, device=found.device)
        index = torch.where(index < 0, -index - 1, index)
        index = torch.where(index >= length, 2 * length - 1 - index, index).clamp(0, length - 1)
        padded = padded.index_select(axis, index)
        sizes[axis] = 2 * radius + 1
    out = torch.zeros_like(found)
    for number in range(found.shape[0]):
        here = inside[number]
        if bool(here.any()):
            slab = padded.narrow(0, number, sizes[0])
            boxes = slab.unfold(1, sizes[1], 1).unfold(2, sizes[2], 1)
            values = boxes.permute(1, 2, 0, 3, 4)[here]
            out[number][here] = values.flatten(1).median(1).values
    return out


def eroded(inside: Tensor, spacing: Tensor, radius_mm: float) -> Tensor:
    """Return the brain's voxels farther than a radius from every voxel outside."""
    reach = [0, 0, 0]
    for axis in range(3):
        if inside.shape[axis] > 1:
            reach[axis] = int(radius_mm / float(spacing[axis]) + 1e-6)
    pads = [reach[2], reach[2], reach[1], reach[1], reach[0], reach[0]]
    padded = functional.pad(inside.to(torch.uint8), pads) > 0
    kept = inside.clone()
    for i in range(-reach[0], reach[0] + 1):
        for j in range(-reach[1], reach[1] + 1):
            for k in range(-reach[2], reach[2] + 1):
                away = (
                    (i * float(spacing[0])) ** 2
                    + (j * float(spacing[1])) ** 2
                    + (k * float(spacing[2])) ** 2
                )
                if away <= radius_mm**2 + 1e-6:
                    part = padded.narrow(0, reach[0] + i, inside.shape[0])
                    part = part.narrow(1, reach[1] + j, inside.shape[1])
                    kept = kept & part.narrow(2, reach[2] + k, inside.shape[2])
    return kept

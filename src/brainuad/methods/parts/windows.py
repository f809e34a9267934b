"""Random crops of slices for training, and detection in overlapping windows of that size."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from brainuad.synthetic.grids import draw_corners, drawn, windows_at
from brainuad.types import Batch


def random_crops(batch: Batch, side: int, generator: torch.Generator | None = None) -> Batch:
    """Return a crop of each sample within the box around its brain, zero outside the image.

    Args:
        batch: images `(B, C, *S)` and brain masks `(B, 1, *S)`.
        side: side of the crops, in pixels.
        generator: None for the global one.

    Returns:
        Images `(B, C, side, ...)` and brain masks `(B, 1, side, ...)`.
    """
    size = [side] * (batch.image.ndim - 2)
    draw = drawn(torch.rand, (len(batch.image), len(size)), batch.image, generator)
    corners = draw_corners(batch.brain_mask, size, draw)
    mask = windows_at(batch.brain_mask.float(), corners, size) > 0.5
    return Batch(windows_at(batch.image, corners, size), mask)


def in_windows(
    score: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    image: Tensor,
    brain_mask: Tensor,
    side: int,
    stride: int,
) -> tuple[Tensor, Tensor]:
    """Return the maps of overlapping windows, averaged with Gaussian weights.

    As in DISYRE's code, the map of a window is first multiplied by its share of brain
    (snavalm/disyre, diffusion/sliding_window_inference.py, and `weight_foreground` in
    diffusion/scheduler.py:421). Zeros around the image make room for whole steps.

    Args:
        score: maps images `(B, C, side, ...)` and brain masks `(B, 1, side, ...)` to anomaly maps
            `(B, 1, side, ...)` and reconstructions `(B, C, side, ...)`.
        image: `(B, C, *S)`.
        brain_mask: `(B, 1, *S)` bool.
        side: side of a window, in pixels.
        stride: distance of neighbouring windows, in pixels.

    Returns:
        Map and reconstruction of the whole image.
    """
    lengths = image.shape[2:]
    sides = [side + max(-(-(length - side) // stride), 0) * stride for length in lengths]
    before = [(whole - length) // 2 for whole, length in zip(sides, lengths, strict=True)]
    pad: list[int] = []
    for whole, length, start in zip(sides, lengths, before, strict=True):
        # torch pads the last axis first.
        pad = [start, whole - length - start, *pad]
    image, brain_mask = functional.pad(image, pad), functional.pad(brain_mask, pad)
    weight = gaussian_weights(side, len(lengths), image.device)
    restored = torch.zeros_like(image, dtype=torch.float32)
    total, weights = torch.zeros_like(restored[:, :1]), torch.zeros_like(restored[:1, :1])
    for corner in product(*(range(0, whole - side + 1, stride) for whole in sides)):
        here = _box(corner, [side] * len(corner))
        mask = brain_mask[here]
        anomaly_map, reconstruction = score(image[here], mask)
        share = mask.float().flatten(1).mean(1).reshape(-1, *[1] * (mask.ndim - 1))
        total[here] += weight * share * anomaly_map
        restored[here] += weight * reconstruction
        weights[here] += weight
    inner = _box(before, lengths)
    return (total / weights)[inner], (restored / weights)[inner]


def gaussian_weights(side: int, dims: int, device: torch.device | None = None) -> Tensor:
    """Return a Gaussian of an eighth of the side around a window's centre, at least 0.001.

    Returns:
        `(side,) * dims` float32.
    """
    away = torch.arange(side, device=device, dtype=torch.float32) - (side - 1) / 2
    line = torch.exp(-0.5 * (away / (0.125 * side)).square())
    weight = line
    for _ in range(dims - 1):
        weight = weight[..., None] * line
    return weight.clamp_min(1e-3)


def _box(corner: Sequence[int], size: Sequence[int]) -> tuple[Any, ...]:
    """Return the index of a box in the last axes."""
    ends = zip(corner, size, strict=True)
    return (..., *(slice(start, start + length) for start, length in ends))

"""Patches of a slice that are noised one at a time, with the rest as context.

Behrendt et al., "Patched Diffusion Models for Unsupervised Anomaly Detection in Brain MRI", MIDL
2023 (arXiv 2303.03758), and its released code. Masks are as in `masks`: 1 = kept clean.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def grid_masks(
    size: Sequence[int], patches: Sequence[int], device: torch.device | str = "cpu"
) -> Tensor:
    """Return one mask per patch of a grid that covers the slice without overlap.

    Args:
        size: height and width of the slice.
        patches: number of patches along each; the last ones are smaller where they do not fit.
        device: device of the result.

    Returns:
        `(P, 1, *size)` float, row by row; of all masks exactly one is 0 at a pixel.
    """
    rows, columns = (
        torch.arange(length, device=device) // math.ceil(length / number)
        for length, number in zip(size, patches, strict=True)
    )
    number = rows[:, None] * (columns.max() + 1) + columns
    every = torch.arange(int(number.max()) + 1, device=device)
    return (number != every[:, None, None, None]).float()


def draw_patches(
    batch: int,
    size: Sequence[int],
    patches: Sequence[int],
    on_grid: bool = True,
    device: torch.device | str = "cpu",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return one random patch for each slice.

    Args:
        batch: number of slices, B.
        size: height and width of a slice.
        patches: number along each, which gives their sides.
        on_grid: whether to draw one of `grid_masks`; False puts the corner on any pixel, so that
            the lower and right border may cut a patch.
        device: device of the result, and of `generator` if there is one.
        generator: None for the global one.

    Returns:
        `(B, 1, *size)` float, 1 = clean.
    """
    draws = torch.rand(2, batch, generator=generator, device=device)
    if on_grid:
        masks = grid_masks(size, patches, device)
        return masks[(draws[0] * len(masks)).long()]
    inside = []
    for draw, length, number in zip(draws, size, patches, strict=True):
        first = (draw * length).long()[:, None]
        place = torch.arange(length, device=device)
        inside.append((place >= first) & (place < first + math.ceil(length / number)))
    return 1 - (inside[0][:, :, None] & inside[1][:, None]).float()[:, None]

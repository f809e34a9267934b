"""Coarse noise: Gaussian on a grid of few cells, made as large as the image.

Kascenas, Pugeault, O'Neil, "Denoising Autoencoders for Unsupervised Anomaly Detection in Brain
MRI", MIDL 2022, and its released code: its blobs are as large as lesions, where noise of
single pixels is not.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from brainuad.synthetic.grids import between, drawn


def coarse_noise(
    image: Tensor,
    brain_mask: Tensor,
    cells: int | Sequence[int] = 16,
    sigma: float = 0.2,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Noise to add to the brain of slices or volumes.

    Normal numbers on the grid, interpolated linearly between the image's first and last pixel,
    rolled around the image's borders by one random shift a batch, so that the grid's nodes, where
    the noise is strongest, lie anywhere.

    Args:
        image: `(B, C, *S)`; only its shape, type and device count.
        brain_mask: `(B, 1, *S)` bool; there is no noise elsewhere.
        cells: number of cells of the grid, for all axes or per axis; 16 on 128 pixels as published.
        sigma: standard deviation at the nodes, of intensities in [0, 1].
        generator: None for the global one; else on the CPU, or on the image's device.

    Returns:
        `(B, C, *S)`, zero outside the brain.

    Raises:
        ValueError: not one number of cells an axis.
    """
    size = image.shape[2:]
    grid = [cells] * len(size) if isinstance(cells, int) else list(cells)
    if len(grid) != len(size):
        raise ValueError(f"cells is {cells}; give one number, or one for each of {len(size)} axes")
    nodes = sigma * drawn(torch.randn, (*image.shape[:2], *grid), image, generator).to(image)
    noise = between(nodes, size)
    # Integers that decide where memory goes: on the CPU nothing waits for the device.
    own = generator if generator is None or generator.device.type == "cpu" else None
    shifts = [int(torch.randint(length, (1,), generator=own)) for length in size]
    noise = noise.roll(shifts, tuple(range(2, image.ndim)))
    return noise * brain_mask

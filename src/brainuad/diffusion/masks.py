"""Masks of noised cells of a latent: 1 = clean, 0 = noised, as in MAD-AD's equations.

Beizaee et al., "MAD-AD: Masked Diffusion for Unsupervised Brain Anomaly Detection", IPMI 2025
(arXiv 2502.16943), and its released code. One function draws all random numbers, for a whole batch
on its device; the others are arithmetic.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

SIZES = (1, 2, 4, 8)
PROBABILITIES = (0.2, 0.3, 0.3, 0.2)


@dataclass(frozen=True)
class MaskDraw:
    """Random numbers of a batch's masks.

    Attributes:
        patch: height and width in cells, one pair per batch.
        fraction: `(B,)` share of the patches to noise.
        order: `(B, N)` uniform in [0, 1); the patches with the lowest numbers are noised.
    """

    patch: tuple[int, int]
    fraction: Tensor
    order: Tensor


@dataclass(frozen=True)
class Patches:
    """The patches of cells that training noises.

    Args:
        sizes: sides of a patch in cells.
        probabilities: probabilities of the sizes; height and width are drawn independently.
        max_fraction: largest noised share of a slice; each slice's is uniform from 0 to this.
        min_brain: smallest share of brain in a block of 2 x 2 cells that may be noised.

    Raises:
        ValueError: an argument is out of range.
    """

    sizes: Sequence[int] = SIZES
    probabilities: Sequence[float] = PROBABILITIES
    max_fraction: float = 0.4
    min_brain: float = 0.9

    def __post_init__(self) -> None:
        sizes, probabilities = list(self.sizes), list(self.probabilities)
        if len(sizes) != len(probabilities):
            raise ValueError(
                f"{len(sizes)} sizes and {len(probabilities)} probabilities; give one per size"
            )
        if min(sizes, default=0) < 1 or min(probabilities) < 0 or sum(probabilities) <= 0:
            raise ValueError(
                f"sizes are {sizes}, probabilities {probabilities}; use sizes of 1 cell or more, "
                "and probabilities of 0 or more, not all 0"
            )
        if not 0 <= self.max_fraction <= 1:
            raise ValueError(f"max_fraction is {self.max_fraction}; use 0 to 1")


def draw_mask(
    batch: int,
    cells: Sequence[int],
    device: torch.device | str = "cpu",
    sizes: Sequence[int] = SIZES,
    probabilities: Sequence[float] = PROBABILITIES,
    max_fraction: float = 0.4,
    generator: torch.Generator | None = None,
) -> MaskDraw:
    """Draw a batch's masks.

    Args:
        batch: number of samples, B.
        cells: height and width of the latent.
        device: device of the tensors, and of `generator` if there is one.
        sizes: sides of a patch in cells.
        probabilities: probabilities of the sizes; height and width are drawn independently.
        max_fraction: a sample's noised fraction is uniform from 0 to this.
        generator: None for the global one.
    """
    # Two integers that decide shapes are drawn on the CPU, so that nothing waits for the device.
    own = generator if generator is None or generator.device.type == "cpu" else None
    weights = torch.tensor(probabilities, dtype=torch.float64)
    height, width = torch.multinomial(weights, 2, replacement=True, generator=own).tolist()
    patch = (sizes[height], sizes[width])
    grid = math.ceil(cells[0] / patch[0]) * math.ceil(cells[1] / patch[1])
    draws = torch.rand(batch, grid + 1, generator=generator, device=device)
    return MaskDraw(patch, draws[:, 0] * max_fraction, draws[:, 1:])


def patch_mask(draw: MaskDraw, cells: Sequence[int]) -> Tensor:
    """Return the mask `(B, 1, *cells)` float of drawn patches, 1 = clean.

    As in the released code the clean share is rounded down, so that a fraction above zero noises at
    least one patch. Patches at the lower and right border may be cut.
    """
    number = draw.order.shape[1]
    noised = number - torch.floor(number * (1 - draw.fraction))
    rank = draw.order.argsort(1).argsort(1)
    height, width = draw.patch
    rows = math.ceil(cells[0] / height)
    mask = (rank >= noised[:, None]).float().unflatten(1, (1, rows, -1))
    mask = mask.repeat_interleave(height, 2).repeat_interleave(width, 3)
    return mask[..., : cells[0], : cells[1]]


def brain_share(brain_mask: Tensor, downsampling: int) -> Tensor:
    """Return the share of brain per cell, `(B, 1, H, W)` bool to `(B, 1, H / d, W / d)`."""
    return functional.avg_pool2d(brain_mask.float(), downsampling)


def spare_background(mask: Tensor, share: Tensor, min_brain: float = 0.9) -> Tensor:
    """Keep cells clean that are not well inside the brain.

    The latent is read in blocks of 2 x 2 cells (16 x 16 pixels where the downsampling is 8); a
    block of which less than `min_brain` is brain is never noised.

    Args:
        mask: `(B, 1, h, w)`, 1 = clean.
        share: `(B, 1, h, w)`, from `brain_share`.
        min_brain: smallest share of brain in a block that may be noised.
    """
    blocks = functional.avg_pool2d(share.float(), 2, ceil_mode=True)
    # Half a pixel's share of tolerance, because sums of float shares have rounding errors.
    background = blocks < min_brain - 1e-5
    background = background.repeat_interleave(2, 2).repeat_interleave(2, 3)
    background = background[..., : mask.shape[2], : mask.shape[3]]
    return torch.where(background, torch.ones((), device=mask.device), mask)

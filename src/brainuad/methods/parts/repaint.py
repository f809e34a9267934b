"""Auto-inpainting: repaint regions that differ from their filling, until they do not change.

Astaraki et al., "AutoPaint", 2023 (arXiv 2305.12358). A pixel is scored only by images in which it
was hidden.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

Inpaint = Callable[[Tensor, Tensor], Tensor]
"""(image `(B, C, *S)`, region `(B, 1, *S)` bool) -> image with the region filled."""
Residual = Callable[[Tensor, Tensor, Tensor], Tensor]

_MAX_POOLS = {4: functional.max_pool2d, 5: functional.max_pool3d}


class Repainted(NamedTuple):
    """Result of auto-inpainting.

    Attributes:
        anomaly_map: `(B, 1, *S)`: the last residual of repainted pixels, the candidates' map
            elsewhere.
        image: `(B, C, *S)` with the region as it was last repainted.
        region: `(B, 1, *S)` bool, that region.
        passes: number of images that went through the network.
    """

    anomaly_map: Tensor
    image: Tensor
    region: Tensor
    passes: int


@dataclass(frozen=True)
class Regions:
    """The region to repaint: the part of a map above the threshold, cleaned and grown.

    Args:
        alpha: share of the pixels of healthy held-out brains above the candidate threshold.
        left_alpha: share of the pixels of these brains that reach the peak after one repainting;
            parts of a region below the peak are healthy. None for no peak (ours).
        rounds: largest number of rounds of repainting; 0 for the candidates only.
        opening: radius in pixels of an opening, which removes thinner parts.
        dilation: radius in pixels by which the rest grows, so that the network does not see the
            lesion's faint rim.

    Raises:
        ValueError: an argument is out of range.
    """

    opening: int = 1
    dilation: int = 2
    alpha: float = 0.01
    left_alpha: float | None = None
    rounds: int = 5

    def __post_init__(self) -> None:
        shares = [self.alpha, 0.5 if self.left_alpha is None else self.left_alpha]
        if self.rounds < 0 or not all(0 < share < 1 for share in shares):
            raise ValueError(
                f"rounds is {self.rounds}, alpha {self.alpha}, left_alpha {self.left_alpha}; use 0 "
                "or more, and shares of 1, or no left_alpha"
            )

    def __call__(
        self,
        anomaly_map: Tensor,
        threshold: Tensor,
        brain_mask: Tensor,
        peak: Tensor | None = None,
    ) -> Tensor:
        """`(B, 1, *S)` to `(B, 1, *S)` bool.

        With a `peak` above the threshold, parts that never reach it are removed as a whole
        (hysteresis). The others stay whole, because the network would otherwise see the rest of a
        lesion.
        """
        above = (anomaly_map > threshold) & brain_mask
        opened = dilate(~dilate(~above, self.opening), self.opening) & above
        if peak is not None:
            opened = connected(opened & (anomaly_map > peak), opened)
        return dilate(opened, self.dilation) & brain_mask


def candidates(
    inpaint: Inpaint,
    image: Tensor,
    brain_mask: Tensor,
    patterns: Tensor,
    residual: Residual,
    chunk: int,
) -> tuple[Tensor, int]:
    """Return the mean residual of each pixel over the patterns that hid it.

    Args:
        inpaint: the network.
        image: `(B, C, *S)` in [0, 1].
        brain_mask: `(B, 1, *S)` bool.
        patterns: `(P, *S)` bool, which together hide every pixel; only their part in the brain is
            used.
        residual: from image, filled image and brain mask to a map.
        chunk: images per forward pass.

    Returns:
        The map `(B, 1, *S)`, zero outside the brain, and the number of images that were filled.
        Patterns that hide no brain are skipped.
    """
    holes = brain_mask & patterns.to(image.device)
    rows, columns = holes.flatten(2).any(2).nonzero(as_tuple=True)
    total = torch.zeros(brain_mask.shape, device=image.device)
    count = torch.zeros_like(total)
    for row, column in zip(rows.split(chunk), columns.split(chunk), strict=True):
        hole = holes[row, column][:, None]
        found = residual(image[row], inpaint(image[row], hole), brain_mask[row]).float()
        total.index_add_(0, row, torch.where(hole, found, 0))
        count.index_add_(0, row, hole.float())
    return total / count.clamp_min(1), len(rows)


def repaint(
    inpaint: Inpaint,
    image: Tensor,
    brain_mask: Tensor,
    first: Tensor,
    threshold: Tensor,
    residual: Residual,
    regions: Regions,
    rounds: int,
    chunk: int,
    tolerance: float = 0.01,
    peak: Tensor | None = None,
) -> Repainted:
    """Hide the whole region at once, fill it, and find it again, until it does not change.

    Args:
        inpaint: the network.
        image: `(B, C, *S)` in [0, 1].
        brain_mask: `(B, 1, *S)` bool.
        first: the candidates' map.
        threshold: threshold of the candidates' map, a scalar.
        residual: from image, filled image and brain mask to a map.
        regions: from a map to the region to repaint.
        rounds: largest number; 0 returns the candidates' map.
        chunk: images a forward pass.
        tolerance: a slice is done if its regions of two rounds differ by less than this in Dice.
        peak: score that a repainted part must reach to be repainted again, because all of it was
            above the threshold before. None for the threshold.
    """
    score, healthy, passes = first.clone(), image.clone(), 0
    region = regions(first, threshold, brain_mask)
    painted_region = torch.zeros_like(region)
    open_ones = region.flatten(1).any(1)
    for _ in range(rounds):
        rows = open_ones.nonzero()[:, 0]
        if not len(rows):
            break
        passes += len(rows)
        for row in rows.split(chunk):
            hole = region[row]
            filled = inpaint(image[row], hole)
            found = residual(image[row], filled, brain_mask[row]).float()
            score[row] = torch.where(hole, found, score[row])
            after = regions(torch.where(hole, found, 0), threshold, brain_mask[row], peak)
            alike = 2 * (after & hole).flatten(1).sum(1)
            both = after.flatten(1).sum(1) + hole.flatten(1).sum(1)
            # An empty region is done, too.
            left = after.flatten(1).any(1)
            kept = hole & left.reshape(-1, *[1] * (image.ndim - 1))
            healthy[row] = torch.where(kept, filled, image[row])
            painted_region[row] = kept
            region[row] = after
            open_ones[row] = (alike < (1 - tolerance) * both) & left
    return Repainted(score, healthy, painted_region, passes)


def connected(seeds: Tensor, within: Tensor) -> Tensor:
    """Return the part of a mask `(B, 1, *S)` connected to the seeds, over edges and corners."""
    while not torch.equal(grown := dilate(seeds, 1) & within, seeds):
        seeds = grown
    return seeds


def dilate(mask: Tensor, radius: int) -> Tensor:
    """Grow a mask `(B, 1, *S)` by a square (cube) of so many pixels to each side."""
    if radius == 0:
        return mask
    # Pixels outside the array do not grow into it.
    return _MAX_POOLS[mask.ndim](mask.float(), 2 * radius + 1, 1, radius) > 0

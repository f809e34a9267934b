"""Auto-inpainting: finds what its surroundings do not predict, and repaints it until it stays.

Astaraki et al., "AutoPaint", 2023 (arXiv 2305.12358). A pixel is only ever judged by an image in
which it was hidden.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

Inpaint = Callable[[Tensor, Tensor], Tensor]
"""(image `(B, C, *S)`, hole `(B, 1, *S)` bool) -> image with the hole filled."""
Residual = Callable[[Tensor, Tensor, Tensor], Tensor]

_MAX_POOLS = {4: functional.max_pool2d, 5: functional.max_pool3d}


class Repainted(NamedTuple):
    """Result of auto-inpainting.

    Attributes:
        anomaly_map: `(B, 1, *S)`: of pixels that were repainted, the last residual; of the others
            the candidates' map.
        image: `(B, C, *S)` with the region as it was last repainted.
        region: `(B, 1, *S)` bool, that region.
        passes: images that went through the network.
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
        left_alpha: share of these brains that still reaches the peak when the candidates have been
            repainted once; parts of a region that do not are healthy. None for no peak (ours).
        rounds: largest number of rounds of repainting; 0 for the candidates alone.
        opening: radius in pixels; what is thinner than twice of it goes.
        dilation: radius in pixels by which the rest grows, so that a lesion's rim, which shines
            into a residual less, does not tell the network what to paint.

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

        With a `peak`, above the threshold, parts that nowhere reach it go as a whole (hysteresis):
        of what stays nothing is cut off, for the rest of a lesion would tell what to paint.
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
    """Mean residual of each pixel over the patterns that hid it.

    Args:
        inpaint: the network.
        image: `(B, C, *S)` in [0, 1].
        brain_mask: `(B, 1, *S)` bool.
        patterns: `(P, *S)` bool, which together hide every pixel; only their part in the brain is.
        residual: from image, filled image and brain mask to a map.
        chunk: images a forward pass.

    Returns:
        The map `(B, 1, *S)`, zero outside the brain, and the number of images that were filled;
        a pattern that hides nothing of a brain costs nothing.
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
    """Hides the whole region at once, fills it, and looks again, until it stays the same.

    Args:
        inpaint: the network.
        image: `(B, C, *S)` in [0, 1].
        brain_mask: `(B, 1, *S)` bool.
        first: the candidates' map.
        threshold: threshold of the candidates' map, a scalar.
        residual: from image, filled image and brain mask to a map.
        regions: from a map to the region to repaint.
        rounds: at most so many; 0 leaves the candidates' map as it is.
        chunk: images a forward pass.
        tolerance: a slice whose regions of two rounds differ by less than this in Dice is done.
        peak: score that a repainted part has to reach to be repainted again: all of it had
            stood out before, so that the threshold alone would keep it. None for the threshold.
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
            # A region that is gone is done, too, and nothing of it is left to repaint.
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
    """Grows a mask `(B, 1, *S)` by a square (cube) of so many pixels to each side."""
    if radius == 0:
        return mask
    # A rim of the array is no end of the mask: what lies outside does not grow in.
    return _MAX_POOLS[mask.ndim](mask.float(), 2 * radius + 1, 1, radius) > 0

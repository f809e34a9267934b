"""Scores of the cells of an encoder, and their way back to pixels."""

from collections.abc import Sequence

from monai.networks.layers.simplelayers import GaussianFilter
from torch import Tensor
from torch.nn import functional as F

_TINY = 1e-6


def touching(brain_mask: Tensor, grid: Sequence[int]) -> Tensor:
    """Return which cells `(B, *grid)` hold a voxel of the brain `(B, 1, *S)`."""
    pool = F.adaptive_max_pool2d if len(grid) == 2 else F.adaptive_max_pool3d
    return pool(brain_mask.float(), tuple(grid))[:, 0] > 0


def to_pixels(scores: Tensor, cells: Tensor, size: Sequence[int], smoothing: float) -> Tensor:
    """Resize scores linearly and smooth them; both are means over the cells of the brain.

    Args:
        scores: `(B, 1, *S_p)`, 0 outside those cells.
        cells: `(B, 1, *S_p)` bool.
        size: pixels along each axis.
        smoothing: standard deviation of the Gaussian in pixels; 0 for none.

    Returns:
        `(B, 1, *size)`.
    """
    values, weights = resized(scores, size), resized(cells.float(), size)
    if smoothing > 0:
        blur = GaussianFilter(len(size), smoothing).to(scores.device)
        values, weights = blur(values), blur(weights)
    return values / weights.clamp_min(_TINY)


def resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resize `(B, C, *S)` linearly to `(B, C, *size)`."""
    mode = "bilinear" if len(size) == 2 else "trilinear"
    return F.interpolate(x, tuple(size), mode=mode)

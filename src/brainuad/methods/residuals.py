"""From an image and its reconstruction to a score; configurations of any reconstruction method."""

import torch
from einops import reduce
from torch import Tensor
from torch.nn import functional

SIGNS = ("abs", "positive", "negative")


_POOLS = {4: functional.avg_pool2d, 5: functional.avg_pool3d}


def signed(
    image: Tensor,
    reconstruction: Tensor,
    brain_mask: Tensor,
    sign: str = "abs",
    average: int = 1,
) -> Tensor:
    """L1 residual, mean over channels.

    Args:
        image: `(B, C, *S)`.
        reconstruction: `(B, C, *S)`.
        brain_mask: `(B, 1, *S)` bool; only used with `average`.
        sign: of image - reconstruction: `positive` finds what is brighter than healthy,
            `negative` what is darker, `abs` both.
        average: odd side in pixels of the square (cube) of brain over which the difference is
            averaged *before* its sign is taken: noise and a fold that lies a pixel beside its
            place cancel, a lesion does not. 1 for none.

    Returns:
        `(B, 1, *S)`, >= 0.

    Raises:
        ValueError: unknown `sign`, or an even `average`.
    """
    if average < 1 or average % 2 == 0:
        raise ValueError(f"average is {average}; use an odd number of pixels")
    residual = image - reconstruction
    if average > 1:
        residual = _mean_in_brain(residual, brain_mask, average)
    if sign == "abs":
        residual = residual.abs()
    elif sign == "positive":
        residual = residual.clamp_min(0)
    elif sign == "negative":
        residual = (-residual).clamp_min(0)
    else:
        raise ValueError(f"sign is '{sign}'; use one of {', '.join(SIGNS)}")
    return reduce(residual, "b c ... -> b 1 ...", "mean")


def squared(image: Tensor, reconstruction: Tensor, brain_mask: Tensor) -> Tensor:
    """Squared residual, mean over channels, of intensities scaled to [-1, 1] as in AnoDDPM.

    Args:
        image: `(B, C, *S)` in [0, 1].
        reconstruction: `(B, C, *S)`.
        brain_mask: `(B, 1, *S)` bool; not used.

    Returns:
        `(B, 1, *S)`, >= 0.
    """
    return reduce((2 * (image - reconstruction)).square(), "b c ... -> b 1 ...", "mean")


def _mean_in_brain(difference: Tensor, brain_mask: Tensor, side: int) -> Tensor:
    pool, inside = _POOLS[difference.ndim], brain_mask.to(difference.dtype)
    total, count = (
        pool(part, side, 1, side // 2, divisor_override=1) for part in (difference * inside, inside)
    )
    return torch.where(brain_mask, total / count.clamp_min(1), 0)

"""From an image and its reconstruction to a score; configurations of any reconstruction method."""

from einops import reduce
from torch import Tensor

SIGNS = ("abs", "positive", "negative")


def signed(image: Tensor, reconstruction: Tensor, brain_mask: Tensor, sign: str = "abs") -> Tensor:
    """L1 residual, mean over channels.

    Args:
        image: `(B, C, *S)`.
        reconstruction: `(B, C, *S)`.
        brain_mask: `(B, 1, *S)` bool; unused, part of every residual's signature.
        sign: of image - reconstruction: `positive` finds what is brighter than healthy,
            `negative` what is darker, `abs` both.

    Returns:
        `(B, 1, *S)`, >= 0.

    Raises:
        ValueError: unknown `sign`.
    """
    residual = image - reconstruction
    if sign == "abs":
        residual = residual.abs()
    elif sign == "positive":
        residual = residual.clamp_min(0)
    elif sign == "negative":
        residual = (-residual).clamp_min(0)
    else:
        raise ValueError(f"sign is '{sign}'; use one of {', '.join(SIGNS)}")
    return reduce(residual, "b c ... -> b 1 ...", "mean")

"""Residuals: turn an image and its reconstruction into scores, for any reconstruction method.

Each is called with (image, reconstruction, brain_mask) and returns a map `(B, 1, *S)`, >= 0. A
residual that needs more declares it by `needs`, and takes it as an argument of that name:
`features` of the method's encoder, or `std`, the standard deviation of its draws.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
from einops import reduce
from torch import Tensor
from torch.nn import functional

SIGNS = ("abs", "positive", "negative")

Sign = str | Sequence[str]
"""One of SIGNS for all channels, or one for each."""

Residual = Callable[..., Tensor]
Features = Callable[[Tensor], Sequence[Tensor]]
"""Callable from images `(B, C, *S)` to activations `(B, C_p, *S_p)` of some layers."""

_NEEDED: dict[Residual, str] = {}
"""Argument that a residual needs besides the images."""

_POOLS = {4: functional.avg_pool2d, 5: functional.avg_pool3d}
_UPSAMPLING = {4: "bilinear", 5: "trilinear"}


def needs(name: Literal["features", "std"]) -> Callable[[Residual], Residual]:
    """Declare the argument that a residual needs besides the images; a decorator."""

    def declare(residual: Residual) -> Residual:
        _NEEDED[residual] = name
        return residual

    return declare


def needed(residual: Residual) -> str | None:
    """Return the argument that a residual, or a partial of one, needs; None for none."""
    return _NEEDED.get(residual.func if isinstance(residual, partial) else residual)


def signed(
    image: Tensor,
    reconstruction: Tensor,
    brain_mask: Tensor,
    sign: Sign = "abs",
    average: int = 1,
) -> Tensor:
    """L1 residual, mean over channels.

    Args:
        image: `(B, C, *S)`.
        reconstruction: `(B, C, *S)`.
        brain_mask: `(B, 1, *S)` bool; only used with `average`.
        sign: sign of image - reconstruction that scores: `positive` (brighter than healthy),
            `negative` (darker) or `abs`; or one for each channel.
        average: odd side in pixels of the square (cube) of brain over which the difference is
            averaged *before* its sign is taken, so that noise and folds displaced by a pixel
            cancel, and lesions do not. 1 for none.

    Returns:
        `(B, 1, *S)`, >= 0.

    Raises:
        ValueError: unknown `sign`, or an even `average`.
    """
    found = _difference(image, reconstruction, brain_mask, sign, average)
    return reduce(found, "b c ... -> b 1 ...", "mean")


def squared(
    image: Tensor,
    reconstruction: Tensor,
    brain_mask: Tensor,
    sign: Sign = "abs",
    average: int = 1,
) -> Tensor:
    """L2 residual, mean over channels; arguments as in `signed`."""
    found = _difference(image, reconstruction, brain_mask, sign, average).square()
    return reduce(found, "b c ... -> b 1 ...", "mean")


def ssim(image: Tensor, reconstruction: Tensor, brain_mask: Tensor, sigma: float = 1.5) -> Tensor:
    """1 - SSIM of the Gaussian window around each pixel, in [0, 2], mean over channels.

    Wang et al. 2004, with the range of the data 1; as an anomaly score in Bergmann et al. 2019
    (arXiv 1807.02011). Both images are 0 outside the brain, so 1 - SSIM is 0 there.

    Args:
        image: `(B, C, *S)` in [0, 1].
        reconstruction: `(B, C, *S)`.
        brain_mask: `(B, 1, *S)` bool.
        sigma: width of the window, in pixels; it is cut at 3.5 sigma.
    """
    # Its import takes a second or two.
    from torchmetrics.functional.image import structural_similarity_index_measure

    zero = torch.zeros((), device=image.device)
    healthy, given = (torch.where(brain_mask, x.float(), zero) for x in (reconstruction, image))
    # Variances are differences of nearly equal numbers, so half precision is not enough.
    with torch.autocast(image.device.type, enabled=False):
        full = structural_similarity_index_measure(
            healthy,
            given,
            sigma=sigma,
            data_range=1.0,
            reduction="none",
            return_full_image=True,
        )[1]
    return (1 - reduce(full, "b c ... -> b 1 ...", "mean")).clamp_min(0)


@needs("features")
def perceptual(
    image: Tensor,
    reconstruction: Tensor,
    brain_mask: Tensor,
    features: Features,
    layers: int | None = None,
) -> Tensor:
    """Squared distance of unit-length features, in [0, 4], enlarged to the image, mean over layers.

    Zhang et al. 2018 (LPIPS, arXiv 1801.03924) without its learned weights and with features of the
    method's own encoder in place of a downloaded network's.

    Args:
        image: `(B, C, *S)` in [0, 1].
        reconstruction: `(B, C, *S)`; set to 0 outside the brain, as the image is.
        brain_mask: `(B, 1, *S)` bool.
        features: features of the method's encoder.
        layers: number of its layers, from the first; None for all.
    """
    healthy = torch.where(brain_mask, reconstruction, torch.zeros((), device=image.device))
    both = torch.cat([image.to(healthy.dtype), healthy])
    maps = []
    for layer in list(features(both))[:layers]:
        ours, theirs = functional.normalize(layer.float(), dim=1).chunk(2)
        distance = (ours - theirs).square().sum(1, keepdim=True)
        mode = _UPSAMPLING[image.ndim]
        maps.append(functional.interpolate(distance, image.shape[2:], mode=mode))
    return torch.stack(maps).mean(0)


@needs("std")
def mahalanobis(
    image: Tensor,
    reconstruction: Tensor,
    brain_mask: Tensor,
    std: Tensor,
    sign: Sign = "abs",
    average: int = 1,
    min_std: float = 0.02,
) -> Tensor:
    """Distance to the mean of the draws in their standard deviations, sqrt((x - m)^2 / s^2).

    The Mahalanobis distance of a diagonal covariance (compare Behrendt et al. 2024, arXiv
    2407.12474): uncertain pixels count less.

    Args:
        image: `(B, C, *S)`.
        reconstruction: mean of the draws, `(B, C, *S)`.
        brain_mask: `(B, 1, *S)` bool.
        std: standard deviation of the draws, `(B, C, *S)`.
        sign: as in `signed`.
        average: as in `signed`.
        min_std: floor of `std`, in intensities, so that the distance stays finite where all draws
            agree. 0.02 is about the noise of a pixel.
    """
    scale = std.clamp_min(min_std)
    return signed(image / scale, reconstruction / scale, brain_mask, sign, average)


def bind(residual: Residual, features: Features | None = None, draws: bool = False) -> Residual:
    """Return the residual with the features that it needs.

    Args:
        residual: called with (image, reconstruction, brain_mask) and its further need.
        features: features of the method's encoder; None without one.
        draws: whether the method passes `std`.

    Raises:
        ValueError: it needs an input that the method does not have.
    """
    need = needed(residual)
    function = residual.func if isinstance(residual, partial) else residual
    if need == "std" and not draws:
        raise ValueError(
            f"{function.__name__} needs several draws; set model.n_samples=8, of a method that has "
            "it"
        )
    if need == "features":
        if features is None:
            raise ValueError(
                f"{function.__name__} needs an encoder, which this model does not have"
            )
        return partial(residual, features=features)
    return residual


def _difference(
    image: Tensor, reconstruction: Tensor, brain_mask: Tensor, sign: Sign, average: int
) -> Tensor:
    """Return the part of the difference with the given sign, `(B, C, *S)`, >= 0."""
    if not isinstance(sign, str):
        if len(sign) != image.shape[1]:
            raise ValueError(f"sign is {list(sign)}; give one, or one for each of the channels")
        channels = zip(image.split(1, 1), reconstruction.split(1, 1), sign, strict=True)
        return torch.cat([_difference(x, y, brain_mask, own, average) for x, y, own in channels], 1)
    if average < 1 or average % 2 == 0:
        raise ValueError(f"average is {average}; use an odd number of pixels")
    difference = image - reconstruction
    if average > 1:
        difference = _mean_in_brain(difference, brain_mask, average)
    if sign == "abs":
        return difference.abs()
    if sign == "positive":
        return difference.clamp_min(0)
    if sign == "negative":
        return (-difference).clamp_min(0)
    raise ValueError(f"sign is '{sign}'; use one of {', '.join(SIGNS)}")


def _mean_in_brain(difference: Tensor, brain_mask: Tensor, side: int) -> Tensor:
    pool, inside = _POOLS[difference.ndim], brain_mask.to(difference.dtype)
    # One plane is averaged within itself.
    sides = [side if size > 1 else 1 for size in difference.shape[2:]]
    around = [one // 2 for one in sides]
    # ONNX has no divisor of one's own, and its exporter forgets it without a word.
    exporting = torch.compiler.is_exporting()
    divisor, factor = (None, math.prod(sides)) if exporting else (1, 1)
    total, count = (
        factor * pool(part, sides, 1, around, divisor_override=divisor)
        for part in (difference * inside, inside)
    )
    return torch.where(brain_mask, total / count.clamp_min(1), 0)

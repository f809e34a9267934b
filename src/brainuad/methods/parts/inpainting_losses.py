"""Losses of an inpainting network: inside and outside the region, features, textures, edges.

Liu et al., "Image Inpainting for Irregular Holes Using Partial Convolutions", ECCV 2018 (arXiv
1804.07723), section 3.3, for a filled image y, the true one x, the hole h and the composite
c = (1 - h) x + h y; means are over all pixels and channels of a batch:

    hole        mean |h (y - x)|                      valid   mean |(1 - h) (y - x)|
    perceptual  sum_p mean |F_p(y) - F_p(x)| + mean |F_p(c) - F_p(x)|
    style       sum_p mean |G_p(y) - G_p(x)| + mean |G_p(c) - G_p(x)|,
                G = F F^T / (channels x pixels), or F F^T / pixels
    tv          mean |difference of neighbours in c|, both within a pixel of the hole
    pyramid     sum_l mean |L_l(y) - L_l(x)|, of three levels of a Laplacian pyramid and its rest

The pyramid is PriorNet's (Autoinpainting/src/Autoinpainting/libs/losses.py:45-82), whose code
multiplies it by the batch's size; here it is a mean, as the others are.

Differs from both: features F come from any given encoder, because VGG16 is a download. They are
scaled to unit length at each pixel; otherwise a style loss would depend on the size of an encoder's
weights. So the weights of the perceptual and the style term were made for other features.
"""

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

from brainuad.methods.parts.repaint import dilate
from brainuad.methods.parts.residuals import Features

WEIGHTS = {
    **{"hole": 6.0, "valid": 1.0, "perceptual": 0.05, "style": 120.0, "tv": 0.1},
    "pyramid": 0.0,
}
"""Weights of the loss terms, as published by Liu et al., who have no pyramid."""

_CONVOLUTIONS = {4: functional.conv2d, 5: functional.conv3d}
_POOLS = {4: functional.avg_pool2d, 5: functional.avg_pool3d}
_LEVELS, _SIGMA, _REACH = 3, 1.3, 2


def inpainting_terms(
    filled: Tensor,
    image: Tensor,
    hole: Tensor,
    features: Features | None = None,
    gram_by_channels: bool = False,
    pyramid: bool = False,
) -> dict[str, Tensor]:
    """Return the terms of the module's docstring, without their weights.

    Args:
        filled: the network's whole output `(B, C, *S)`.
        image: the true image.
        hole: `(B, 1, *S)` bool.
        features: None leaves out the perceptual and the style term.
        gram_by_channels: whether the Gram matrix is divided by channels x pixels, not by pixels
            only.
        pyramid: whether that term is computed.
    """
    difference = (filled - image).abs()
    zero = torch.zeros((), device=image.device, dtype=difference.dtype)
    composite = torch.where(hole, filled, image)
    terms = {
        "hole": torch.where(hole, difference, zero).mean(),
        "valid": torch.where(hole, zero, difference).mean(),
        "tv": total_variation(composite, hole),
    }
    if features is not None:
        with torch.no_grad():
            wanted = [_unit(layer) for layer in features(image)]
        perceptual = style = zero
        for layer, truth in zip(features(torch.cat([filled, composite])), wanted, strict=True):
            found = rearrange(_unit(layer), "(n b) ... -> n b ...", n=2)
            # The sum of a mean over the filled image and one over the composite.
            perceptual = perceptual + 2 * (found - truth).abs().mean()
            wished = gram_matrix(truth, gram_by_channels)
            grams = [gram_matrix(part, gram_by_channels) - wished for part in found]
            style = style + torch.stack(grams).abs().mean() * 2
        terms |= {"perceptual": perceptual, "style": style}
    if pyramid:
        terms["pyramid"] = laplacian_pyramid(filled - image)
    return terms


def _unit(layer: Tensor) -> Tensor:
    return functional.normalize(layer.float(), dim=1)


def total_variation(image: Tensor, hole: Tensor) -> Tensor:
    """Return the mean over the array of the differences between neighbours near the region.

    Args:
        image: `(B, C, *S)`.
        hole: `(B, 1, *S)` bool.
    """
    near = dilate(hole, 1)
    total = torch.zeros((), device=image.device)
    for axis in range(2, image.ndim):
        steps = image.diff(dim=axis).abs()
        length = near.shape[axis] - 1
        both = near.narrow(axis, 0, length) & near.narrow(axis, 1, length)
        total = total + torch.where(both, steps, 0).sum() / image.numel()
    return total


def gram_matrix(features: Tensor, by_channels: bool = False) -> Tensor:
    """Return products of channels, averaged over pixels, `(B, C, *S)` to `(B, C, C)`.

    `by_channels` also divides by their number, as NVIDIA's models/loss.py:31.
    """
    flat = rearrange(features, "b c ... -> b c (...)")
    return flat @ flat.mT / (flat[0].numel() if by_channels else flat.shape[2])


def laplacian_pyramid(difference: Tensor) -> Tensor:
    """Return the sum of the mean absolute values of a Laplacian pyramid's levels and of its rest.

    The pyramid is linear, so the pyramid of a difference is the difference of two pyramids. Each
    level is the image minus its smoothed version; the next one is made from the smoothed version,
    averaged over squares (cubes) of 2 pixels. The smoothing is PriorNet's: the window of 5 pixels
    is the sum, not the product, of exp(-(d / 1.3)^2) along each axis, with zeros beyond the border.

    Args:
        difference: `(B, C, *S)`, each side of 8 or more.
    """
    axes = difference.ndim - 2
    profile = torch.exp(-((torch.arange(-_REACH, _REACH + 1) / _SIGMA) ** 2))
    parts = [profile.reshape(-1, *[1] * (axes - 1 - axis)) for axis in range(axes)]
    window = torch.stack(torch.broadcast_tensors(*parts)).sum(0)
    window = (window / window.sum()).to(difference)[None, None]
    current = rearrange(difference, "b c ... -> (b c) 1 ...")
    total = torch.zeros((), device=difference.device)
    for _ in range(_LEVELS):
        smooth = _CONVOLUTIONS[current.ndim](current, window, padding=_REACH)
        total = total + (current - smooth).abs().mean()
        current = _POOLS[current.ndim](smooth, 2)
    return total + current.abs().mean()

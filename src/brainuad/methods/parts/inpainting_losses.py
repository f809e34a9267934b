"""What an inpainting network is told: in the hole, outside, in features, in textures, at edges.

Liu et al., "Image Inpainting for Irregular Holes Using Partial Convolutions", ECCV 2018 (arXiv
1804.07723), section 3.3, for a filled image y, the true one x, the hole h and the composite
c = (1 - h) x + h y; means are over all pixels and channels of a batch:

    hole        mean |h (y - x)|                      valid   mean |(1 - h) (y - x)|
    perceptual  sum_p mean |F_p(y) - F_p(x)| + mean |F_p(c) - F_p(x)|
    style       sum_p mean |G_p(y) - G_p(x)| + mean |G_p(c) - G_p(x)|,   G = F F^T / pixels
    tv          mean |difference of neighbours in c|, both within a pixel of the hole

Differs from the paper: features F are not VGG's, which is a download, but of any encoder that is
handed in, and are scaled to unit length at each pixel, without which a style loss would follow the
size of an encoder's weights.
"""

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

from brainuad.methods.parts.repaint import dilate
from brainuad.methods.parts.residuals import Features

WEIGHTS = {"hole": 6.0, "valid": 1.0, "perceptual": 0.05, "style": 120.0, "tv": 0.1}
"""Of the terms, as published by Liu et al."""


def inpainting_terms(
    filled: Tensor, image: Tensor, hole: Tensor, features: Features | None = None
) -> dict[str, Tensor]:
    """The terms of the module's docstring, without their weights.

    Args:
        filled: the network's whole output `(B, C, *S)`.
        image: the true image.
        hole: `(B, 1, *S)` bool.
        features: None leaves out the perceptual and the style term.
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
            # A sum of two means, one of the filled image and one of the composite.
            perceptual = perceptual + 2 * (found - truth).abs().mean()
            grams = [gram_matrix(part) - gram_matrix(truth) for part in found]
            style = style + torch.stack(grams).abs().mean() * 2
        terms |= {"perceptual": perceptual, "style": style}
    return terms


def _unit(layer: Tensor) -> Tensor:
    return functional.normalize(layer.float(), dim=1)


def total_variation(image: Tensor, hole: Tensor) -> Tensor:
    """Mean over the array of the differences between neighbours near the hole.

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


def gram_matrix(features: Tensor) -> Tensor:
    """Products of channels, averaged over pixels: `(B, C, *S)` to `(B, C, C)`."""
    flat = rearrange(features, "b c ... -> b c (...)")
    return flat @ flat.mT / flat.shape[2]

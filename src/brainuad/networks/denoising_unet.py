"""The U-Net of the denoising autoencoder (Kascenas et al., MIDL 2022, released code).

MONAI's U-Nets have no weight standardisation (Qiao et al. 2019, arXiv 1903.10520), one
convolution a level (`UNet`) or a fixed number of levels (`BasicUNet`), hence our own.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from einops import reduce
from torch import Tensor, nn
from torch.nn import functional


class DenoisingUNet(nn.Module):
    """U-Net that maps images to images of the same size.

    Each level has two convolutions of width 3 with standardised weights on reflected borders,
    each followed by SiLU and then a group normalisation; between the levels, means of 2 pixels a
    side down and transposed convolutions up; a linear convolution of width 1 at the end. Published:
    `features=(64, 128, 256, 512)`, 7.7 M parameters.

    Args:
        channels: number of channels of the image.
        features: maps of each level.
        spatial_dims: 2 for slices, 3 for volumes.
    """

    def __init__(
        self,
        channels: int = 1,
        features: Sequence[int] = (64, 128, 256, 512),
        spatial_dims: int = 2,
    ) -> None:
        super().__init__()
        is_volume = spatial_dims == 3
        transposed = nn.ConvTranspose3d if is_volume else nn.ConvTranspose2d
        convolution = nn.Conv3d if is_volume else nn.Conv2d
        before = [channels, *features]
        self.down = nn.ModuleList(
            _block(a, b, is_volume) for a, b in zip(before, features, strict=False)
        )
        levels = list(pairwise(features))[::-1]
        self.enlarge = nn.ModuleList(transposed(low, high, 2, 2) for high, low in levels)
        self.up = nn.ModuleList(_block(2 * high, high, is_volume) for high, _ in levels)
        self.last = convolution(features[0], channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """`(B, C, *S)` to the same shape; sizes that cannot be halved are padded on the way."""
        size, step = image.shape[2:], 2 ** len(self.up)
        padding = [n for length in reversed(size) for n in (0, -length % step)]
        x = functional.pad(image, padding)
        skips = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else halve(x))
            skips.append(x)
        skips.pop()
        for enlarge, block in zip(self.enlarge, self.up, strict=True):
            x = block(torch.cat([enlarge(x), skips.pop()], dim=1))
        return self.last(x)[(..., *(slice(length) for length in size))]


class _Standardised:
    """Convolution whose weights have mean 0 and standard deviation 1 in each filter."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve on reflected borders of one pixel."""
        weight = standardise(self.weight)  # type: ignore[attr-defined]
        return self._conv_forward(reflect(x), weight, self.bias)  # type: ignore[attr-defined]


class StandardisedConv2d(_Standardised, nn.Conv2d):
    """Convolution of slices."""


class StandardisedConv3d(_Standardised, nn.Conv3d):
    """Convolution of volumes."""


def reflect(x: Tensor) -> Tensor:
    """`(B, C, *S)` with one more pixel on each side, the border's inner neighbour.

    torch's own padding cannot be differentiated deterministically on a GPU.
    """
    for axis in range(2, x.ndim):
        x = torch.cat([x.narrow(axis, 1, 1), x, x.narrow(axis, -2, 1)], axis)
    return x


def halve(x: Tensor) -> Tensor:
    """Return means over 2 pixels per side."""
    if x.ndim == 4:
        return functional.avg_pool2d(x, 2)
    # torch's own in 3D is not deterministic on a GPU.
    return reduce(x, "b c (d i) (h j) (w k) -> b c d h w", "mean", i=2, j=2, k=2)


def standardise(weight: Tensor, epsilon: float = 1e-5) -> Tensor:
    """Weights `(out, in, *K)` with mean 0 and standard deviation 1 in each filter."""
    flat = weight.flatten(1)
    scale = flat.std(1, keepdim=True) + epsilon
    return ((flat - flat.mean(1, keepdim=True)) / scale).reshape(weight.shape)


def groups_of(channels: int) -> int:
    """Groups of a normalisation: the smallest divisor that is the root or more."""
    root = math.isqrt(channels - 1) + 1
    return next(number for number in range(root, channels + 1) if channels % number == 0)


def _block(before: int, after: int, is_volume: bool) -> nn.Sequential:
    convolution = StandardisedConv3d if is_volume else StandardisedConv2d
    return nn.Sequential(
        *(
            layer
            for width in (before, after)
            for layer in (
                convolution(width, after, 3),
                nn.SiLU(),
                nn.GroupNorm(groups_of(after), after),
            )
        )
    )

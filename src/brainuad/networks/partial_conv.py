"""Partial convolution: over valid pixels only, rescaled by their share.

Liu, Reda, Shih, Wang, Tao, Catanzaro, "Image Inpainting for Irregular Holes Using Partial
Convolutions", ECCV 2018 (arXiv 1804.07723), equations 1 and 2:

    y = W (x . m) sum(1) / sum(m) + b   and   m' = 1   where sum(m) > 0,   else y = 0 and m' = 0

with sums over the window and its channels. As in the released code, pixels beyond the image's
border are invalid, so borders are averaged without zeros.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

_CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
_FUNCTIONS = {2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {2: functional.conv_transpose2d, 3: functional.conv_transpose3d}
# For fewer, building the transposed kernel is more work than it saves.
_LEAST_PIXELS = 1024
_POOLS = {2: functional.avg_pool2d, 3: functional.avg_pool3d}


class PartialConv(nn.Module):
    """Partial convolution in 2D or 3D: ignores invalid pixels, rescales by the share of valid ones.

    Args:
        spatial_dims: 2 or 3.
        in_channels: number of channels of the input.
        out_channels: number of channels of the output.
        kernel_size: odd, the same along each axis; the padding is half of it.
        stride: stride of the window.
        bias: whether there is a b; before a normalisation it has no effect.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.conv = _CONVOLUTIONS[spatial_dims](
            in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False
        )
        self.bias = nn.Parameter(torch.zeros(out_channels, *[1] * spatial_dims)) if bias else None
        self.pool = _POOLS[spatial_dims]
        self.kernel_size = kernel_size
        self.stride = stride

    def forward(self, image: Tensor, valid: Tensor, zeroed: bool = False) -> tuple[Tensor, Tensor]:
        """Convolves.

        Args:
            image: `(B, C, *S)`; its values do not matter where `valid` is 0. Invalid channels of a
                partly valid pixel are 0, see `join`.
            valid: `(B, 1, *S)` float32, the share of a pixel's channels that is valid, 0 to 1.
            zeroed: whether the image is already 0 where `valid` is 0, which saves a pass over it.

        Returns:
            The output `(B, C', *S')`, and where it is valid, `(B, 1, *S')`, 0 or 1.
        """
        if not zeroed:
            image = image * (valid > 0).to(image.dtype)
        return self._renormalise(self.conv(image), valid)

    def over_doubled(
        self, below: Tensor, valid: Tensor, skip: Tensor, other: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Double an image by nearest neighbours, join it with another and convolve; stride 1.

        If the other is of exactly twice the size, a transposed convolution of the original pixels
        gives the same sums with 4 products per pixel in place of 9 for a kernel of 3. That saves 7
        to 18 % of a training step of AutoPaint on a CPU.

        Args:
            below: `(B, C1, *S)`, zero where not valid.
            valid: validity of `below`, `(B, 1, *S)`.
            skip: `(B, C2, *S2)`, zero where not valid; S2 is 2 S or, along an axis, one less.
            other: the validity of `skip`, `(B, 1, *S2)`.

        Returns:
            As `forward`.
        """
        size, count = skip.shape[2:], below.shape[1]
        known = functional.interpolate(valid, size)
        doubled = tuple(2 * side for side in below.shape[2:])
        if size != doubled or len(below) * math.prod(size) < _LEAST_PIXELS:
            image, known = join(functional.interpolate(below, size), known, skip, other)
            return self.forward(image, known, zeroed=True)
        weight, dims, padding = self.conv.weight, below.ndim - 2, self.kernel_size // 2
        sums = _TRANSPOSED[dims](below, _doubled(weight[:, :count]), stride=2, padding=padding)
        sums = sums + _FUNCTIONS[dims](skip, weight[:, count:], padding=padding)
        return self._renormalise(sums, _share(known, count, other, skip.shape[1]))

    def _renormalise(self, sums: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output and its validity, from the sums over the windows."""
        # The sum over the window is exact, because counts are whole numbers.
        count = self.pool(
            valid, self.kernel_size, self.stride, self.kernel_size // 2, divisor_override=1
        )
        seen = (count > 0).to(valid.dtype)
        window = float(self.kernel_size ** (valid.ndim - 2))
        # Without a valid pixel the sum is 0, whatever the ratio.
        ratio = window / torch.where(count > 0, count, window)
        output = sums * ratio.to(sums.dtype)
        if self.bias is not None:
            output = output + self.bias * seen
        return output, seen


def join(first: Tensor, valid: Tensor, second: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Stack the channels of two images with their validity, for a partial convolution.

    Args:
        first: `(B, C1, *S)`, zero where not valid.
        valid: validity of the first, `(B, 1, *S)`.
        second: `(B, C2, *S)`, zero where not valid.
        other: the validity of the second, `(B, 1, *S)`.

    Returns:
        `(B, C1 + C2, *S)` and the share of valid channels `(B, 1, *S)`.
    """
    share = _share(valid, first.shape[1], other, second.shape[1])
    return torch.cat([first, second], dim=1), share


def _share(valid: Tensor, count: int, other: Tensor, more: int) -> Tensor:
    return (count * valid + more * other) / (count + more)


def _doubled(weight: Tensor) -> Tensor:
    """Return the transposed kernel of stride 2 that equals `weight` on doubled pixels.

    It combines two convolutions of the zero-filled image: a window of 2 that doubles, and `weight`.
    """
    kernel = weight.transpose(0, 1).flip(tuple(range(2, weight.ndim)))
    for axis in range(weight.ndim - 2):
        others = [0] * (2 * axis)
        kernel = functional.pad(kernel, [*others, 0, 1]) + functional.pad(kernel, [*others, 1, 0])
    return kernel

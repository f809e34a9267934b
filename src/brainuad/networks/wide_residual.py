"""The wide residual encoder and decoder of foreign patch interpolation (jemtan/FPI).

Wide residual blocks (Zagoruyko and Komodakis 2016, arXiv 1605.07146) as in its code,
`models/wide_residual_network.py:31-111` and `:166-211`, which is written in Keras. Padding, batch
normalisation and initial weights are Keras's here too.
"""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional


class WideResidualAutoencoder(nn.Module):
    """Autoencoder from images to logits of the same size.

    The smallest map has a sixteenth of the side.

    A convolution to 16 maps, five blocks of which the last four halve the side, four that double
    it. The smallest maps are the only connection from the encoder to the decoder. No convolution
    has a bias. Published: `width=4`, "16-4", 4,164,763 parameters.

    Args:
        channels: number of channels of the image.
        out_channels: number of channels of the logits; their sigmoid is the prediction of the code.
        width: factor of the blocks' 16, 32 and 64 maps.
    """

    def __init__(self, channels: int = 1, out_channels: int = 1, width: int = 4) -> None:
        super().__init__()
        down = [16, 16 * width, 32 * width, 64 * width, 64 * width, 64 * width]
        up = [64 * width, 32 * width, 16 * width, 16, out_channels]
        self.first = _convolution(channels, 16, 3)
        self.down = nn.ModuleList(
            WideBlock(before, after, 1 if level == 0 else 2)
            for level, (before, after) in enumerate(pairwise(down))
        )
        self.up = nn.ModuleList(WideBlock(before, after, 2, True) for before, after in pairwise(up))

    def forward(self, image: Tensor) -> Tensor:
        """`(B, C, H, W)` to `(B, K, H, W)`; other sides than multiples of 16 are padded."""
        height, width = image.shape[2:]
        x = self.first(functional.pad(image, (0, -width % 16, 0, -height % 16)))
        for block in (*self.down, *self.up):
            x = block(x)
        return x[..., :height, :width]


class WideBlock(nn.Module):
    """Normalisation, ReLU and convolution, twice, added to the block's input.

    Where the number of maps changes, the input is added after its normalisation and a convolution
    of width 1.

    Args:
        before: maps of the input.
        after: maps of the output.
        stride: factor by which the side shrinks, or grows.
        enlarges: whether the side grows, by repeated pixels, after the first convolution.
    """

    def __init__(self, before: int, after: int, stride: int = 1, enlarges: bool = False) -> None:
        super().__init__()
        self.shrink, self.grow = (1, stride) if enlarges else (stride, 1)
        self.normalise_1 = _normalisation(before)
        self.convolution_1 = _convolution(before, after, 3, self.shrink)
        self.normalise_2 = _normalisation(after)
        self.convolution_2 = _convolution(after, after, 3)
        self.shortcut = None if before == after else _convolution(before, after, 1, self.shrink)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, before, H, W)`, with sides that the stride divides, to `(B, after, H', W')`."""
        active = functional.relu(self.normalise_1(x))
        if self.shortcut is not None:
            passed = self.shortcut(active)
        else:
            passed = functional.avg_pool2d(x, self.shrink) if self.shrink > 1 else x
        if self.shrink > 1:
            # Keras's padding of an even side: one pixel, behind it.
            active = functional.pad(active, (0, 1, 0, 1))
        found = _enlarged(self.convolution_1(active), self.grow)
        found = self.convolution_2(functional.relu(self.normalise_2(found)))
        return found + _enlarged(passed, self.grow)


def _enlarged(x: Tensor, factor: int) -> Tensor:
    return x if factor == 1 else functional.interpolate(x, scale_factor=factor, mode="nearest")


def _convolution(before: int, after: int, width: int, stride: int = 1) -> nn.Conv2d:
    padding = width // 2 if stride == 1 else 0
    made = nn.Conv2d(before, after, width, stride, padding, bias=False)
    # Keras's "he_normal": a normal distribution cut at two standard deviations, which then has the
    # deviation sqrt(2 / fan_in).
    std = (2 / (before * width**2)) ** 0.5 / 0.87962566103423978
    nn.init.trunc_normal_(made.weight, std=std, a=-2 * std, b=2 * std)
    return made


def _normalisation(channels: int) -> nn.BatchNorm2d:
    """Return Keras's batch normalisation; each step keeps 0.99 of the moving statistics."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)

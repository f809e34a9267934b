"""SQUID's discriminator of whole images.

Xiang et al., CVPR 2023 (arXiv 2111.13495); released code tiangexiang/SQUID,
`models/discriminator.py`.
"""

from collections.abc import Sequence

from torch import Tensor, nn


class SquidDiscriminator(nn.Module):
    """Five convolutions of stride 2 and a linear layer (`SimpleDiscriminator`).

    Args:
        size: height and width of the images.
        channels: channels of the images.
        widths: channels of each convolution.
    """

    def __init__(
        self,
        size: Sequence[int],
        channels: int = 1,
        widths: Sequence[int] = (16, 32, 64, 128, 128),
    ) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        before = channels
        for i, width in enumerate(widths):
            parts.append(nn.Conv2d(before, width, 5, 2, 2))
            if i:
                parts.append(nn.BatchNorm2d(width))
            parts.append(nn.LeakyReLU(0.2))
            before = width
        self.body = nn.Sequential(*parts)
        cells = [-(-side // 2 ** len(widths)) for side in size]
        self.last = nn.Linear(before * cells[0] * cells[1], 1)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the logit `(B, 1)` of "real" in a list, as MONAI's discriminators do."""
        return [self.last(self.body(image).flatten(1))]

"""U-Net of partial convolutions for inpainting (Liu et al., ECCV 2018, arXiv 1804.07723)."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainuad.networks.partial_conv import PartialConv, join

_NORMS = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class PartialUNet(nn.Module):
    """U-Net for inpainting: the valid area grows layer by layer until the region is filled.

    Halving partial convolutions on the way down, with batch normalisation (but in the first) and
    ReLU; on the way up nearest neighbours doubled, joined with the skip and *its* validity, and a
    convolution of width 3 with batch normalisation and leaky ReLU. The last layer sees the image
    itself and is linear. Liu et al. have eight halvings,
    `features=(64, 128, 256, 512, 512, 512, 512, 512)`, `kernels=(7, 5, 5, 3, 3, 3, 3, 3)`, for
    256 x 256: 32,852,298 parameters for one channel.

    Args:
        channels: number of channels of the image.
        features: maps after each halving.
        kernels: widths of the halving convolutions, odd.
        spatial_dims: 2 for slices, 3 for volumes.
        hints: number of channels of a second image that is valid everywhere.
        mirror: whether the network also sees the image's left-right mirror image with its mirrored
            mask; the first spatial axis is left to right, its middle the midsagittal plane.
        full_resolution: whether the first of `features` are at full resolution, before any halving;
            ours, for slices of few pixels, where a fold is two pixels wide.

    Raises:
        ValueError: not one kernel for each halving.
    """

    def __init__(
        self,
        channels: int = 1,
        features: Sequence[int] = (16, 32, 64, 128, 128),
        kernels: Sequence[int] = (5, 3, 3, 3, 3),
        spatial_dims: int = 2,
        hints: int = 0,
        mirror: bool = False,
        full_resolution: bool = False,
    ) -> None:
        super().__init__()
        if len(features) != len(kernels):
            raise ValueError(f"{len(features)} features and {len(kernels)} kernels; give as many")
        norm = _NORMS[spatial_dims]
        self.mirror = mirror
        widths = [(2 if mirror else 1) * channels + hints, *features]
        # A normalisation removes the mean, and with it a bias.
        self.down = nn.ModuleList(
            PartialConv(
                spatial_dims,
                before,
                after,
                kernel,
                stride=1 if full_resolution and level == 0 else 2,
                bias=level == 0,
            )
            for level, (before, after, kernel) in enumerate(
                zip(widths, features, kernels, strict=False)
            )
        )
        self.down_norms = nn.ModuleList(
            nn.Identity() if level == 0 else norm(width) for level, width in enumerate(features)
        )
        # A decoder block has the width of the level it reaches; the last has the image's channels.
        self.up = nn.ModuleList(
            PartialConv(
                spatial_dims, below + skip, channels if level == 0 else skip, bias=level == 0
            )
            for level, (skip, below) in enumerate(zip(widths, features, strict=False))
        )
        self.up_norms = nn.ModuleList(
            nn.Identity() if level == 0 else norm(width) for level, width in enumerate(widths[:-1])
        )

    def forward(self, image: Tensor, valid: Tensor, hint: Tensor | None = None) -> Tensor:
        """Predict the whole image from `(B, C, *S)` and the mask of valid pixels `(B, 1, *S)` bool.

        `hint (B, hints, *S)` is the second image, if the network takes one.

        A region too wide for the levels is 0 at its middle.
        """
        known = valid.to(torch.float32)
        x = image * valid
        if self.mirror:
            x, known = join(x, known, x.flip(2), known.flip(2))
        if hint is not None:
            x, known = join(x, known, hint, torch.ones_like(known))
        steps = [(x, known)]
        for conv, norm in zip(self.down, self.down_norms, strict=True):
            x, known = conv(x, known, zeroed=True)
            x = functional.relu(_normalised(norm, x))
            if not isinstance(norm, nn.Identity):
                # Zero again at invalid pixels, because a normalisation changes them.
                x = x * known.to(x.dtype)
            steps.append((x, known))
        for level in reversed(range(len(self.up))):
            skip, skip_known = steps[level]
            conv = cast(PartialConv, self.up[level])
            x, known = conv.over_doubled(x, known, skip, skip_known)
            if level > 0:
                x = functional.leaky_relu(_normalised(self.up_norms[level], x), 0.2)
                x = x * known.to(x.dtype)
        return x


def _normalised(norm: nn.Module, x: Tensor) -> Tensor:
    """Return `norm(x)`; by its running statistics if a map has one value, which has no spread."""
    if isinstance(norm, nn.BatchNorm2d | nn.BatchNorm3d) and norm.training and x[:, 0].numel() == 1:
        running = norm.running_mean, norm.running_var
        return functional.batch_norm(x, *running, norm.weight, norm.bias, eps=norm.eps)
    return norm(x)

"""KL autoencoder between images and latents of unit size, with its measured scale."""

from collections.abc import Iterable
from typing import cast

import torch
from monai.networks.nets.autoencoderkl import AEKLDownsample, AEKLResBlock, AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional

from brainuad.errors import InputError


class LatentAutoencoder(nn.Module):
    """First stage of latent diffusion; its images are in [0, 1], those of the network in [-1, 1].

    Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", CVPR 2022
    (arXiv 2112.10752). `scale` is 1 / std of the training latents; it is measured by
    `measure_scale`, or comes with released weights (0.18215 there). It is stored with the weights,
    applied by `encode` and undone by `decode`.

    Args:
        network: MONAI's autoencoder, for images of `patch ** 2` times the channels.
        patch: side of the squares of pixels that become channels before the network and pixels
            again after it, in pixels; 2 takes a quarter of the time, 1 for none.
    """

    scale: Tensor

    def __init__(self, network: AutoencoderKL, patch: int = 1) -> None:
        super().__init__()
        self.network = network
        self.patch = patch
        self.register_buffer("scale", torch.ones(()))

    @property
    def downsampling(self) -> int:
        """Number of pixels per cell of the latent along each axis."""
        halvings = sum(isinstance(part, AEKLDownsample) for part in self.network.encoder.modules())
        return self.patch * 2**halvings

    @property
    def latent_channels(self) -> int:
        """Channels of the latent."""
        return self.network.latent_channels

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the posterior, scaled.

        `(B, C, H, W)` in [0, 1] to twice `(B, latent_channels, H / d, W / d)` for a downsampling d.

        Raises:
            InputError: d does not divide H or W.
        """
        if any(side % self.downsampling for side in image.shape[2:]):
            raise InputError(
                f"slices of {' x '.join(map(str, image.shape[2:]))} pixels cannot be encoded; make "
                f"data.slice_size a multiple of {self.downsampling}, the autoencoder's downsampling"
            )
        mean, std = self.network.encode(functional.pixel_unshuffle(2 * image - 1, self.patch))
        return mean * self.scale, std * self.scale

    def features(self, image: Tensor, layers: int | None = None) -> list[Tensor]:
        """Activations after the residual blocks of the encoder, `(B, C_p, *S_p)`.

        Args:
            image: `(B, C, H, W)` in [0, 1].
            layers: number of blocks, from the first; None for all.
        """
        x = functional.pixel_unshuffle(2 * image - 1, self.patch)
        found: list[Tensor] = []
        blocks = cast(nn.ModuleList, self.network.encoder.blocks)
        for block in blocks:
            if layers is not None and len(found) >= layers:
                break
            x = block(x)
            if isinstance(block, AEKLResBlock):
                found.append(x)
        return found

    def decode(self, z: Tensor) -> Tensor:
        """Decode scaled latents to images `(B, C, H, W)`; healthy ones are in [0, 1]."""
        decoded = functional.pixel_shuffle(self.network.decode(z / self.scale), self.patch)
        return (decoded + 1) / 2


@torch.no_grad()
def measure_scale(autoencoder: LatentAutoencoder, images: Iterable[Tensor]) -> float:
    """Set `scale` to 1 / std of the latents of `images`, all cells and channels pooled.

    The variance is that of sampled latents: of the means, plus that of the posterior.

    Args:
        autoencoder: in evaluation mode.
        images: batches `(B, C, H, W)` in [0, 1] on its device.

    Returns:
        The scale.

    Raises:
        InputError: there is no image.
    """
    autoencoder.scale.fill_(1.0)
    count, first, second = 0, 0.0, 0.0
    for image in images:
        mean, std = (part.double() for part in autoencoder.encode(image))
        count += mean.numel()
        first += mean.sum().item()
        second += (mean**2 + std**2).sum().item()
    if count == 0:
        raise InputError("no healthy training scan can be read to measure the latent scale on")
    variance = second / count - (first / count) ** 2
    autoencoder.scale.fill_(variance**-0.5)
    return autoencoder.scale.item()

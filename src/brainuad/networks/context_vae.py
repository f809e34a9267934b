"""The compact variational autoencoder of StRegA and its predecessor ceVAE."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

_LAYERS: dict[int, tuple[Any, Any]] = {
    2: (nn.Conv2d, nn.ConvTranspose2d),
    3: (nn.Conv3d, nn.ConvTranspose3d),
}


class ContextVAE(nn.Module):
    """Variational autoencoder with strided convolutions down to one vector and up again, 2D or 3D.

    Convolutions of stride 2 and padding 1 without bias, PReLU, no normalisation; the last encoder
    layer spans the whole remaining grid; the last decoder layer is linear (released code of
    StRegA, arXiv 2201.13271). Released are the defaults with `encoder_kernel=3`
    (ceVae/ae_bases.py:249, :372): 812,295,576 parameters, nearly all of them in the two layers
    that span the last grid.

    Args:
        image_size: height and width, or depth, height and width; each divisible by
            2 ** len(features).
        channels: number of channels of the image.
        features: maps after each halving.
        latent_dim: length of the latent vector.
        encoder_kernel: width of the encoder's convolutions, 3 as in the released network or 4; the
            decoder's is 4.

    Raises:
        ValueError: the size is not divisible, or has neither two nor three lengths; or another
            kernel.
    """

    variational = True

    def __init__(
        self,
        image_size: Sequence[int] = (256, 256),
        channels: int = 1,
        features: Sequence[int] = (16, 64, 256, 1024),
        latent_dim: int = 1024,
        encoder_kernel: int = 4,
    ) -> None:
        super().__init__()
        # With padding 1 no other width halves the size.
        if encoder_kernel not in (3, 4):
            raise ValueError(f"encoder_kernel is {encoder_kernel}; use 3 or 4")
        self.latent_dim = latent_dim
        factor = 2 ** len(features)
        if len(image_size) not in (2, 3) or any(length % factor for length in image_size):
            raise ValueError(
                f"image_size is {tuple(image_size)}, expected two or three multiples of {factor} "
                f"for {len(features)} halvings"
            )
        grid = tuple(length // factor for length in image_size)
        conv, up_conv = _LAYERS[len(image_size)]
        down: list[nn.Module] = []
        for before, after in pairwise([channels, *features]):
            down += [conv(before, after, encoder_kernel, 2, 1, bias=False), nn.PReLU()]
        self.encoder = nn.Sequential(*down, conv(features[-1], 2 * latent_dim, grid, bias=False))
        up: list[nn.Module] = [up_conv(latent_dim, features[-1], grid, bias=False), nn.PReLU()]
        for before, after in pairwise(reversed(features)):
            up += [up_conv(before, after, 4, 2, 1, bias=False), nn.PReLU()]
        self.decoder = nn.Sequential(*up, up_conv(features[0], channels, 4, 2, 1, bias=False))

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and log sigma of the posterior, each `(B, latent_dim, 1, …)`, of `(B, C, *S)`.

        The posterior is N(mu, exp(log_sigma)^2): the second half of the channels is log sigma.
        """
        mu, log_sigma = self.encoder(image).chunk(2, dim=1)
        return mu, log_sigma

    def features(self, image: Tensor) -> list[Tensor]:
        """Activations after each halving, `(B, features[i], *S_i)`."""
        return activations(self.encoder, nn.PReLU, image)

    def decode(self, z: Tensor) -> Tensor:
        """`(B, latent_dim, 1, …)` to `(B, C, *S)`."""
        return self.decoder(z)

    def forward(self, image: Tensor) -> Tensor:
        """The reconstruction from the posterior's mean."""
        return self.decode(self.encode(image)[0])


def activations(layers: nn.Sequential, kind: type[nn.Module], image: Tensor) -> list[Tensor]:
    """Return the outputs of the layers of a kind, in order."""
    found = []
    for layer in layers:
        image = layer(image)
        if isinstance(layer, kind):
            found.append(image)
    return found


def gaussian_kl(mu: Tensor, log_sigma: Tensor) -> Tensor:
    """KL(N(mu, exp(log_sigma)^2) || N(0, 1)) in nats, elementwise."""
    return 0.5 * (mu**2 + torch.exp(2 * log_sigma) - 1) - log_sigma

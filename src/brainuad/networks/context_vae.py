"""The compact variational autoencoder of StRegA and its forerunner ceVAE."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class ContextVAE(nn.Module):
    """Strided convolutions down to one vector, mirrored up again.

    4x4 convolutions of stride 2 without bias, PReLU, no normalisation; the last encoder layer
    spans the whole remaining grid; the last decoder layer is linear (released code of StRegA,
    arXiv 2201.13271). `features=(16, 64, 256, 1024)`, `latent_dim=1024`, `image_size=(256, 256)`
    are the released values.

    Args:
        image_size: height and width, each divisible by 2 ** len(features).
        channels: of the image.
        features: maps after each halving.
        latent_dim: length of the latent vector.

    Raises:
        ValueError: the size is not divisible.
    """

    def __init__(
        self,
        image_size: Sequence[int] = (256, 256),
        channels: int = 1,
        features: Sequence[int] = (16, 64, 256, 1024),
        latent_dim: int = 1024,
    ) -> None:
        super().__init__()
        factor = 2 ** len(features)
        if any(length % factor for length in image_size):
            raise ValueError(
                f"image_size is {tuple(image_size)}, expected multiples of {factor} for "
                f"{len(features)} halvings"
            )
        grid = (image_size[0] // factor, image_size[1] // factor)
        down: list[nn.Module] = []
        for before, after in pairwise([channels, *features]):
            down += [nn.Conv2d(before, after, 4, 2, 1, bias=False), nn.PReLU()]
        self.encoder = nn.Sequential(
            *down, nn.Conv2d(features[-1], 2 * latent_dim, grid, bias=False)
        )
        up: list[nn.Module] = [
            nn.ConvTranspose2d(latent_dim, features[-1], grid, bias=False),
            nn.PReLU(),
        ]
        for before, after in pairwise(reversed(features)):
            up += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False), nn.PReLU()]
        self.decoder = nn.Sequential(
            *up, nn.ConvTranspose2d(features[0], channels, 4, 2, 1, bias=False)
        )

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The posterior N(mu, exp(log_sigma)^2): `(B, C, H, W)` to two `(B, latent_dim, 1, 1)`.

        The second half of the channels is log sigma, not log sigma squared.
        """
        mu, log_sigma = self.encoder(image).chunk(2, dim=1)
        return mu, log_sigma

    def decode(self, z: Tensor) -> Tensor:
        """`(B, latent_dim, 1, 1)` to `(B, C, H, W)`."""
        return self.decoder(z)

    def forward(self, image: Tensor) -> Tensor:
        """The reconstruction from the posterior's mean."""
        return self.decode(self.encode(image)[0])


def gaussian_kl(mu: Tensor, log_sigma: Tensor) -> Tensor:
    """KL(N(mu, exp(log_sigma)^2) || N(0, 1)) in nats, elementwise."""
    return 0.5 * (mu**2 + torch.exp(2 * log_sigma) - 1) - log_sigma

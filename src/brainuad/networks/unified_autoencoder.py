"""The autoencoder and the VAE that Baur et al. compare all their methods by.

Baur, Denner, Wiestler, Navab, Albarqouni, "Autoencoders for unsupervised anomaly segmentation in
brain MR images: a comparative study", Medical Image Analysis 2021 (arXiv 2004.03271): one
architecture for all, here as its released code has it.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn


class UnifiedAutoencoder(nn.Module):
    """Strided convolutions, a dense bottleneck, transposed convolutions; 2D.

    Convolutions of width 5 and stride 2 with batch normalisation and leaky ReLU (0.3); a 1 x 1
    convolution to an eighth of the channels; dense layers to the latent vector and back, with
    dropout behind each; 1 x 1 back to the channels, batch normalisation and ReLU; the mirrored way
    up; a linear 1 x 1 convolution. Parameters:

    | features, latent_dim | image_size | parameters (VAE, AE) |
    | --- | --- | --- |
    | (32, 64, 128, 128), 128 (released) | (128, 128) | 2.14 M, 2.01 M |
    | (8, 16, 32, 64), 128 | (96, 112) | 0.37 M, 0.32 M |

    Args:
        image_size: height and width, each divisible by 2 ** len(features).
        channels: of the image.
        features: maps after each halving; the last a multiple of 8.
        latent_dim: length of the latent vector.
        variational: the posterior N(mu, exp(log_sigma)^2); False for a plain autoencoder.
        dropout: share of the latent vector (of mu and of log sigma) and of what is made of it.

    Raises:
        ValueError: the size or the features are not divisible.
    """

    def __init__(
        self,
        image_size: Sequence[int] = (128, 128),
        channels: int = 1,
        features: Sequence[int] = (32, 64, 128, 128),
        latent_dim: int = 128,
        variational: bool = True,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        factor = 2 ** len(features)
        if len(image_size) != 2 or any(length % factor for length in image_size):
            raise ValueError(
                f"image_size is {tuple(image_size)}, expected two multiples of {factor} for "
                f"{len(features)} halvings"
            )
        if features[-1] % 8:
            raise ValueError(f"features end with {features[-1]}; use a multiple of 8")
        self.variational = variational
        self.latent_dim = latent_dim
        grid = tuple(length // factor for length in image_size)
        last, narrow = features[-1], features[-1] // 8
        cells = narrow * grid[0] * grid[1]
        down: list[nn.Module] = []
        for before, after in pairwise([channels, *features]):
            # A normalisation follows: the convolution's own offset would be taken out again.
            down += [nn.Conv2d(before, after, 5, 2, 2, bias=False), *_activated(after)]
        self.encoder = nn.Sequential(*down, nn.Conv2d(last, narrow, 1), nn.Flatten())
        self.to_latent = nn.Linear(cells, (2 if variational else 1) * latent_dim)
        self.dropout = nn.Dropout(dropout)
        up: list[nn.Module] = [nn.Linear(latent_dim, cells), nn.Dropout(dropout)]
        up += [nn.Unflatten(1, (narrow, *grid)), nn.Conv2d(narrow, last, 1, bias=False)]
        up += [nn.BatchNorm2d(last), nn.ReLU()]
        for before, after in pairwise([last, *reversed(features)]):
            up += [nn.ConvTranspose2d(before, after, 5, 2, 2, 1, bias=False), *_activated(after)]
        self.decoder = nn.Sequential(*up, nn.Conv2d(features[0], channels, 1))

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """mu and log sigma `(B, latent_dim)` of `(B, C, H, W)`; None for log sigma without one."""
        code = self.dropout(self.to_latent(self.encoder(image)))
        if not self.variational:
            return code, None
        mu, log_sigma = code.chunk(2, dim=1)
        return mu, log_sigma

    def features(self, image: Tensor) -> list[Tensor]:
        """Activations after each halving, `(B, features[i], *S_i)`."""
        found = []
        for layer in self.encoder:
            image = layer(image)
            if isinstance(layer, nn.LeakyReLU):
                found.append(image)
        return found

    def decode(self, z: Tensor) -> Tensor:
        """`(B, latent_dim)` to `(B, C, H, W)`."""
        return self.decoder(z)

    def forward(self, image: Tensor) -> Tensor:
        """The reconstruction from the posterior's mean."""
        return self.decode(self.encode(image)[0])


def _activated(features: int) -> tuple[nn.Module, nn.Module]:
    return nn.BatchNorm2d(features), nn.LeakyReLU(0.3)

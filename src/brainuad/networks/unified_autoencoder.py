"""The autoencoder and the VAE on which Baur et al. compare all their methods.

Baur, Denner, Wiestler, Navab, Albarqouni, "Autoencoders for unsupervised anomaly segmentation in
brain MR images: a comparative study", Medical Image Analysis 2021 (arXiv 2004.03271): one
architecture for all. Files and lines are those of the released code,
github.com/StefanDenn3r/Unsupervised_Anomaly_Detection_Brain_MRI at 3e413c09.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from brainuad.networks.context_vae import activations


class UnifiedAutoencoder(nn.Module):
    """2D autoencoder with strided convolutions, a dense bottleneck and transposed convolutions.

    Convolutions of width 5 and stride 2 with a normalisation and leaky ReLU (0.3); a 1 x 1
    convolution to an eighth of the channels; dense layers to the latent vector and back, with
    dropout behind each; 1 x 1 back to the channels, normalisation and ReLU; transposed convolutions
    of width 5; a linear 1 x 1 convolution. The released network is `norm="rest"`,
    `up_features=(128, 64, 32, 32)`, `glorot=True`, `dropout=0.2`. Parameters:

    | features, up_features, norm | image_size | parameters (VAE, AE) |
    | --- | --- | --- |
    | (32, 64, 128, 128), (128, 64, 32, 32), rest (released) | (128, 128) | 1,758,449, 1,627,249 |
    | (32, 64, 128, 128), None, batch | (128, 128) | 2,141,905, 2,010,705 |
    | (8, 16, 32, 64), (32, 16, 8, 8), rest | (96, 112) | 349,833, 306,697 |

    Args:
        image_size: height and width, each divisible by 2 ** len(features).
        channels: number of channels of the image.
        features: maps after each halving; the last a multiple of 8.
        latent_dim: length of the latent vector.
        variational: the posterior N(mu, exp(log_sigma)^2); False for a plain autoencoder.
        dropout: dropout of the latent vector (of mu and of log sigma), and behind it.
        up_features: maps after each doubling, as many as `features`; None for these reversed.
        norm: `batch` is batch normalisation. `rest` is that of the released code, which keeps its
            initial statistics, because the training switch is missing (models/customlayers.py:22),
            see `RestingNorm`. This looks like a mistake there.
        glorot: initial weights uniform after Glorot and Bengio, biases zero, as the released code's
            layers begin; False for PyTorch's.
        decoder_dropout: whether there is dropout behind the latent vector too; in the released AE
            that layer is not switched to training (models/autoencoder.py:30).

    Raises:
        ValueError: the size or the features do not fit, or an unknown `norm`.
    """

    def __init__(
        self,
        image_size: Sequence[int] = (128, 128),
        channels: int = 1,
        features: Sequence[int] = (32, 64, 128, 128),
        latent_dim: int = 128,
        variational: bool = True,
        dropout: float = 0.1,
        up_features: Sequence[int] | None = None,
        norm: str = "batch",
        glorot: bool = False,
        decoder_dropout: bool = True,
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
        if norm not in _NORMS:
            raise ValueError(f"norm is '{norm}'; use one of {', '.join(_NORMS)}")
        ups = list(reversed(features)) if up_features is None else list(up_features)
        if len(ups) != len(features):
            raise ValueError(f"{len(features)} features and {len(ups)} up_features; give as many")
        normalise = _NORMS[norm]
        # Batch normalisation would remove a convolution's own offset.
        bias = norm == "rest"
        self.variational = variational
        self.latent_dim = latent_dim
        grid = tuple(length // factor for length in image_size)
        last, narrow = features[-1], features[-1] // 8
        cells = narrow * grid[0] * grid[1]
        down: list[nn.Module] = []
        for before, after in pairwise([channels, *features]):
            down += [nn.Conv2d(before, after, 5, 2, 2, bias=bias), normalise(after)]
            down += [nn.LeakyReLU(_SLOPE)]
        self.encoder = nn.Sequential(*down, nn.Conv2d(last, narrow, 1), nn.Flatten())
        self.to_latent = nn.Linear(cells, (2 if variational else 1) * latent_dim)
        self.dropout = nn.Dropout(dropout)
        up: list[nn.Module] = [nn.Linear(latent_dim, cells)]
        up += [nn.Dropout(dropout if decoder_dropout else 0.0)]
        up += [nn.Unflatten(1, (narrow, *grid)), nn.Conv2d(narrow, last, 1, bias=bias)]
        up += [normalise(last), nn.ReLU()]
        for before, after in pairwise([last, *ups]):
            up += [nn.ConvTranspose2d(before, after, 5, 2, 2, 1, bias=bias), normalise(after)]
            up += [nn.LeakyReLU(_SLOPE)]
        self.decoder = nn.Sequential(*up, nn.Conv2d(ups[-1], channels, 1))
        if glorot:
            for module in self.modules():
                if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                    _begin_as_glorot(module, variational and module is self.to_latent)

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """mu and log sigma `(B, latent_dim)` of `(B, C, H, W)`; None for log sigma without one."""
        code = self.dropout(self.to_latent(self.encoder(image)))
        if not self.variational:
            return code, None
        mu, log_sigma = code.chunk(2, dim=1)
        return mu, log_sigma

    def features(self, image: Tensor) -> list[Tensor]:
        """Activations after each halving, `(B, features[i], *S_i)`."""
        return activations(self.encoder, nn.LeakyReLU, image)

    def decode(self, z: Tensor) -> Tensor:
        """`(B, latent_dim)` to `(B, C, H, W)`."""
        return self.decoder(z)

    def forward(self, image: Tensor) -> Tensor:
        """The reconstruction from the posterior's mean."""
        return self.decode(self.encode(image)[0])


class RestingNorm(nn.Module):
    """Batch normalisation that keeps its initial statistics, mean 0 and variance 1.

    A scale and a shift per map remain: `weight * x / sqrt(1 + 0.001) + bias`, with TensorFlow's
    epsilon.

    Args:
        features: number of maps.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        """`(B, features, H, W)` to the same shape."""
        scale = self.weight / (1 + _EPSILON) ** 0.5
        return x * scale[:, None, None] + self.bias[:, None, None]


def _begin_as_glorot(module: nn.Conv2d | nn.ConvTranspose2d | nn.Linear, two: bool) -> None:
    """`two`: the layer is two of the released code's, one above the other."""
    for weight in module.weight.chunk(2) if two else (module.weight,):
        nn.init.xavier_uniform_(weight)
    if module.bias is not None:
        nn.init.zeros_(module.bias)


_NORMS: dict[str, Callable[[int], nn.Module]] = {"batch": nn.BatchNorm2d, "rest": RestingNorm}
_SLOPE = 0.3
_EPSILON = 1e-3

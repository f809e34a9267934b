"""VAE and AE: tissue that a compressed code of healthy brains cannot represent is abnormal.

Baur et al., "Autoencoders for unsupervised anomaly segmentation in brain MR images: A comparative
study", Medical Image Analysis 2021 (arXiv 2004.03271), and its released code. With the posterior
q(z|x) = N(mu, sigma^2) of an encoder and x_hat decoded from a drawn z,

    VAE:  L = kl_weight KL(q(z|x) || N(0, I)) + reconstruction_weight |x_hat - x|_1
    AE:   L = |x_hat - x|_1,   x_hat decoded from the code itself

with means over latent and pixel dimensions; the paper sums both, which is a `kl_weight` of latent
dimensions by pixels. In validation and detection z is the mean. The score is the residual.

`experiment=vae_paper` lists the differences from the released code.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from brainuad.methods.base import OptimizerFactory, ReconstructionDetector, SchedulerFactory, Traits
from brainuad.methods.parts.bright_prior import keep_bright
from brainuad.methods.parts.elbo_gradient import BOUNDS, elbo_gradient
from brainuad.methods.parts.latent_checks import check_latent
from brainuad.methods.parts.random_draws import score_draws
from brainuad.methods.parts.residuals import Residual
from brainuad.networks.context_vae import ContextVAE, gaussian_kl
from brainuad.networks.unified_autoencoder import UnifiedAutoencoder
from brainuad.synthetic.lesions.boxes import draw_boxes, paint_boxes
from brainuad.types import Batch, Detection

Network = ContextVAE | UnifiedAutoencoder


class AE(ReconstructionDetector):
    """Plain autoencoder, on slices or on volumes.

    Args:
        network: the autoencoder, without a posterior.
        residual: from image, reconstruction and brain mask to the anomaly map.
        optimizer: factory; the paper's is Adam with 1e-4.
        scheduler: factory or None.
        bright_quantile: quantile of the whole array, background included, below which the map is 0;
            None for none. 0.9 is for bright lesions.

    Raises:
        ValueError: the network is a variational one.
    """

    traits = Traits(detection_options=("residual", "bright_quantile"), one_pass=True)

    def __init__(
        self,
        network: Network,
        residual: Residual,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        bright_quantile: float | None = None,
    ) -> None:
        super().__init__(residual, optimizer, scheduler, features=network.features)
        if network.variational:
            raise ValueError("the network is variational; use VAE, or variational=false")
        self.network = network
        self.bright_quantile = bright_quantile

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean absolute error."""
        return {"loss": (self.network(batch.image) - batch.image).abs().mean()}

    def reconstruct(self, image: Tensor, brain_mask: Tensor) -> Tensor:
        """Decode the code."""
        return self.network(image)

    def judge_scan(self, found: Detection, image: Tensor) -> Detection:
        """Clear the scores of voxels below `bright_quantile`."""
        return keep_bright(found, image, self.bright_quantile)


class VAE(ReconstructionDetector):
    """Variational autoencoder, on slices or on volumes.

    Args:
        network: the variational autoencoder.
        residual: from image, reconstruction and brain mask to the anomaly map.
        optimizer: factory; the paper's is Adam with 1e-4.
        scheduler: factory or None.
        kl_weight: weight of the KL term.
        reconstruction_weight: weight of the L1 term.
        n_samples: number of decoded draws of z; the map is the mean of their residuals, the
            uncertainty the standard deviation. 0 scores by the posterior's mean.
        sample_seed: seed of these draws; every slice gets the same ones, whatever its batch.
        gradient: None scores by the residual; `elbo` or `kl` by that gradient with respect to the
            image, see `elbo_gradient`, by the posterior's mean.
        times_residual: whether the gradient is multiplied by the residual.
        bright_quantile: as in `AE`.

    Raises:
        ValueError: an option is out of range, or the network has no posterior for it.
    """

    traits = Traits(
        samples=True,
        detection_options=(
            *("residual", "n_samples", "sample_seed", "gradient", "times_residual"),
            "bright_quantile",
        ),
        compiled=("forward", "encode", "decode"),
    )

    def __init__(
        self,
        network: Network,
        residual: Residual,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        kl_weight: float = 0.01,
        reconstruction_weight: float = 1.0,
        n_samples: int = 0,
        sample_seed: int = 0,
        gradient: str | None = None,
        times_residual: bool = False,
        bright_quantile: float | None = None,
    ) -> None:
        super().__init__(
            residual, optimizer, scheduler, features=network.features, draws=n_samples > 1
        )
        if n_samples < 0:
            raise ValueError(f"n_samples is {n_samples}; 0 is the mean, 2 and more are draws")
        if n_samples and not network.variational:
            raise ValueError("n_samples is for a variational network; this one has nothing to draw")
        if gradient is not None and gradient not in BOUNDS:
            raise ValueError(f"gradient is '{gradient}'; use one of {', '.join(BOUNDS)}, or null")
        if gradient is not None and (n_samples or not network.variational):
            raise ValueError("gradient is for a variational network and n_samples=0")
        self.traits = replace(
            self.traits,
            samples=network.variational,
            one_pass=n_samples == 0 and gradient is None,
        )
        self.network = network
        self.kl_weight = kl_weight
        self.reconstruction_weight = reconstruction_weight
        self.n_samples = n_samples
        self.sample_seed = sample_seed
        self.gradient = gradient
        self.times_residual = times_residual
        self.bright_quantile = bright_quantile

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the objective of the module's docstring; in validation z is the mean."""
        mu, log_sigma = self.network.encode(batch.image)
        assert log_sigma is not None
        z = drawn(mu, log_sigma) if self.training else mu
        kl = gaussian_kl(mu, log_sigma).mean()
        l1 = (self.network.decode(z) - batch.image).abs().mean()
        loss = self.kl_weight * kl + self.reconstruction_weight * l1
        return {"loss": loss, "l1": l1, "kl": kl}

    def reconstruct(self, image: Tensor, brain_mask: Tensor) -> Tensor:
        """Decode the posterior's mean."""
        return self.network(image)

    def score(self, image: Tensor, brain_mask: Tensor) -> Detection:
        """Return the residual by the posterior's mean, or over draws from it; or a gradient."""
        if self.n_samples == 0 or self.gradient is not None:
            found = super().score(image, brain_mask)
            if self.gradient is None:
                return found
            slope = self._gradient(image, self.gradient)
            weight = found.anomaly_map if self.times_residual else 1.0
            return Detection(slope * weight, found.reconstruction)
        mu, log_sigma = self.network.encode(image)
        assert log_sigma is not None
        generator = torch.Generator().manual_seed(self.sample_seed)
        noise = torch.randn(self.n_samples, *mu.shape[1:], generator=generator).to(mu)
        decoded = (self.network.decode(mu + torch.exp(log_sigma) * draw) for draw in noise)
        return score_draws(self.residual, image, brain_mask, decoded, self.keeps_draws)

    def judge_scan(self, found: Detection, image: Tensor) -> Detection:
        """Clear what is too dark to be a lesion, where `bright_quantile` says so."""
        return keep_bright(found, image, self.bright_quantile)

    def calibrate(self, train: Iterable[Batch], held_out: Iterable[Batch]) -> Mapping[str, Any]:
        """Check whether the latent space represents healthy brains, if it has a prior."""
        if not self.network.variational:
            return {}
        self.eval()
        return check_latent(self.network, self.covered, train, held_out, self.device)

    def covered(self, tiles: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Paint random squares over tiles `(B, C, *S)`."""
        return paint_boxes(tiles, *draw_boxes(tiles, 3, 0.5, generator, "own_side"))

    def _gradient(self, image: Tensor, bound: str) -> Tensor:
        # The objective has means; the bound has sums.
        pixels, latent = image[0].numel(), self.network.latent_dim
        weight = self.kl_weight * pixels / latent / self.reconstruction_weight
        return elbo_gradient(self.network.encode, self.network.decode, image, weight, bound)


def drawn(mu: Tensor, log_sigma: Tensor) -> Tensor:
    """Draw z from N(mu, exp(log_sigma)^2); gradients pass through."""
    return mu + torch.exp(log_sigma) * torch.randn_like(mu)

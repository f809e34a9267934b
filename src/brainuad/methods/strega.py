"""StRegA: a compact context-encoding VAE on tissue maps.

Chatterjee et al., "StRegA: Unsupervised anomaly detection in brain MRIs using a compact
context-encoding variational autoencoder", Computers in Biology and Medicine 2022 (arXiv
2201.13271), after Zimmerer et al., "Context-encoding Variational Autoencoder for Unsupervised
Anomaly Detection" 2018 (arXiv 1812.05941).

    L = (1 - f) [ beta KL(q(z|x) || N(0, I)) + theta |x_hat - x|_1 ] + f |x_hat(x_ce) - x|_1

with means over latent and pixel dimensions; x_ce is x with squares painted over, and what is
reconstructed from it is the clean x. `input=tissue` hands the method the tissue maps that give it
its name, `input=intensity` is the paper's own baseline.

The defaults are those of version 0.1. The released code (soumickmj/StRegA, eedc76c7) is
`squares="last"`, `sampled_context`, `scale_slices` and `keeps_background` with the residual's sign
`negative`, as `experiment=strega_paper` sets them. Different from it in any case: the tissue maps
are of our own HMRF-EM, not FSL FAST; at test time z is the posterior's mean, where the released
code draws one (`n_samples=1` does, the same noise for every slice, so that two runs agree); in 3D
the squares are cubes.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor

from brainuad.cohorts.manifest import Scan
from brainuad.machine import ranks
from brainuad.methods.base import OptimizerFactory, ReconstructionDetector, SchedulerFactory
from brainuad.methods.parts.bright_prior import keep_bright
from brainuad.methods.parts.elbo_gradient import BOUNDS, elbo_gradient
from brainuad.methods.parts.geco import GECO
from brainuad.methods.parts.latent_checks import check_latent
from brainuad.methods.parts.random_draws import score_draws
from brainuad.methods.parts.residuals import Residual
from brainuad.networks.context_vae import ContextVAE, gaussian_kl
from brainuad.networks.unified_autoencoder import UnifiedAutoencoder
from brainuad.synthetic.lesions.boxes import RULES, draw_boxes, paint_boxes
from brainuad.types import Batch, Detection
from brainuad.volumes.tiling import Tiling


class StRegA(ReconstructionDetector):
    """Compact ceVAE, on slices or on volumes.

    Args:
        network: the variational autoencoder; or a plain one, without draws and KL.
        residual: from image, reconstruction and brain mask to the anomaly map.
        optimizer: factory; the paper's is Adam with 1e-4.
        scheduler: factory or None.
        ce_factor: f, the share of the context-encoding term (0.5 in ceVAE); 0 is a plain VAE, or an
            autoencoder where the network is no variational one.
        kl_weight: beta (0.01 in ceVAE).
        reconstruction_weight: theta while `geco` is None.
        geco: adapts theta instead.
        max_squares: largest number of squares painted over a slice.
        max_side: longest side of a square as a share of the slice's shorter side.
        squares: how number, sides and places are drawn, see `draw_boxes`: `last` as the released
            code does, `one_side` as its arguments read, `own_side`.
        sampled_context: the context term reconstructs from a drawn z, as the released code's does
            (train.py:69, ceVae/aes.py:86-95); False from the posterior's mean.
        scale_slices: the loss sees each image as `scaled`, as the released code's does
            (train.py:24-28); at test time none is changed (Pipeline.ipynb:178).
        n_samples: 0 scores by the posterior's mean; else so many draws of z are decoded, and the
            map is the mean of their residuals, the uncertainty the standard deviation.
        sample_seed: of these draws; every slice gets the same ones, whatever batch it is in.
        gradient: None scores by the residual; `elbo` or `kl` by that gradient with respect to the
            image, see `elbo_gradient`, by the posterior's mean.
        times_residual: the gradient is multiplied with the residual.
        keeps_background: the map keeps what is painted outside the brain, for a chain that masks
            last (`Postprocess.masks_last`).
        bright_quantile: where a scan is darker than this quantile of its whole array, background
            included, its map is 0 (Baur et al.); None for none. 0.9 is for bright lesions.

    Raises:
        ValueError: an option is out of range, or the network has no posterior for it.
    """

    def __init__(
        self,
        network: ContextVAE | UnifiedAutoencoder,
        residual: Residual,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        ce_factor: float = 0.5,
        kl_weight: float = 0.01,
        reconstruction_weight: float = 1.0,
        geco: GECO | None = None,
        max_squares: int = 3,
        max_side: float = 0.5,
        squares: str = "own_side",
        sampled_context: bool = False,
        scale_slices: bool = False,
        n_samples: int = 0,
        sample_seed: int = 0,
        gradient: str | None = None,
        times_residual: bool = False,
        keeps_background: bool = False,
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
        if squares not in RULES:
            raise ValueError(f"squares is '{squares}'; use one of {', '.join(RULES)}")
        self.network = network
        self.ce_factor = ce_factor
        self.kl_weight = kl_weight
        self.reconstruction_weight = reconstruction_weight
        self.geco = geco
        self.max_squares = max_squares
        self.max_side = max_side
        self.squares = squares
        self.sampled_context = sampled_context
        self.scale_slices = scale_slices
        self.n_samples = n_samples
        self.sample_seed = sample_seed
        self.gradient = gradient
        self.times_residual = times_residual
        self.keeps_background = keeps_background
        self.bright_quantile = bright_quantile

    def reconstruct(self, image: Tensor, brain_mask: Tensor) -> Tensor:
        """Decodes the posterior's mean."""
        return self.network(image)

    def score(self, image: Tensor, brain_mask: Tensor) -> Detection:
        """The residual by the posterior's mean, or over draws from it; or a gradient."""
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
        """Clears what is too dark to be a lesion, where `bright_quantile` says so."""
        if self.bright_quantile is None:
            return found
        return keep_bright(found, image, self.bright_quantile)

    def _gradient(self, image: Tensor, bound: str) -> Tensor:
        # The objective has means; the bound has sums.
        pixels, latent = image[0].numel(), self.network.latent_dim
        weight = self.kl_weight * pixels / latent / self.reconstruction_weight
        return elbo_gradient(self.network.encode, self.network.decode, image, weight, bound)

    def examine(
        self, tiling: Tiling, train: Sequence[Scan], held_out: Sequence[Scan], out: Path
    ) -> None:
        """Checks whether the latent space is one of healthy brains, where it has a prior."""
        if self.network.variational:
            self.eval()
            check_latent(self.network, self._covered, tiling, train, held_out, out, self.device)

    def _covered(self, tiles: Tensor, generator: torch.Generator | None = None) -> Tensor:
        boxes = draw_boxes(tiles, self.max_squares, self.max_side, generator, self.squares)
        return paint_boxes(tiles, *boxes)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The objective in the module's docstring; in validation z is the mean, without squares."""
        image = given = scaled(batch.image) if self.scale_slices else batch.image
        if self.training and self.ce_factor > 0:
            # Clean and corrupted in one pass: the same numbers as two, in larger, faster batches.
            given = torch.cat([image, self._covered(image)])
        codes, log_sigmas = self.network.encode(given)
        mu, *context_mu = codes.split(len(image))
        z, kl = [mu, *context_mu], torch.zeros((), device=image.device)
        if log_sigmas is not None:
            log_sigma, *context_log_sigma = log_sigmas.split(len(image))
            if self.training:
                z[0] = drawn(mu, log_sigma)
                if context_mu and self.sampled_context:
                    z[1] = drawn(context_mu[0], context_log_sigma[0])
            kl = gaussian_kl(mu, log_sigma).mean()
        decoded = self.network.decode(torch.cat(z))
        errors = rearrange(decoded, "(n b) ... -> n b ...", b=len(image)) - image
        l1, *context = errors.abs().flatten(1).mean(1)
        if not self.training:
            weight = self.reconstruction_weight if self.geco is None else 1.0
            return {"loss": self.kl_weight * kl + weight * l1, "l1": l1, "kl": kl}
        theta: Tensor | float = self.reconstruction_weight
        if self.geco is not None:
            theta = self.geco.theta
        total = (1 - self.ce_factor) * (self.kl_weight * kl + theta * l1)
        terms = {"l1": l1, "kl": kl}
        if context:
            total = total + self.ce_factor * context[0]
            terms["context"] = context[0]
        if self.geco is not None:
            terms["theta"] = self.geco.theta.clone()
            self.geco.update(ranks.mean(l1.detach(), len(image)))
        return {"loss": total, **terms}


def drawn(mu: Tensor, log_sigma: Tensor) -> Tensor:
    """A z of N(mu, exp(log_sigma)^2), through which gradients pass."""
    return mu + torch.exp(log_sigma) * torch.randn_like(mu)


def scaled(image: Tensor) -> Tensor:
    """Each image of `(B, C, *S)` minus its minimum, divided by its maximum.

    As the released code does it, so that with a minimum above 0 the result ends below 1. An image
    of zeros stays one; the released code drops those (train.py:31-33), and so does the training
    set, see `build_cache`.
    """
    dims = tuple(range(1, image.ndim))
    low, high = image.amin(dims, keepdim=True), image.amax(dims, keepdim=True)
    return (image - low) / torch.where(high > 0, high, 1)

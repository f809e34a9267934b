"""StRegA: a compact context-encoding VAE on tissue maps.

Chatterjee et al., "StRegA: Unsupervised anomaly detection in brain MRIs using a compact
context-encoding variational autoencoder", Computers in Biology and Medicine 2022 (arXiv
2201.13271), after Zimmerer et al., "Context-encoding Variational Autoencoder for Unsupervised
Anomaly Detection" 2018 (arXiv 1812.05941).

    L = (1 - f) [ beta KL(q(z|x) || N(0, I)) + theta |x_hat - x|_1 ] + f |x_hat(x_ce) - x|_1

with means over latent and pixel dimensions; x_ce is x with painted squares, from which the clean x
is reconstructed. `input=tissue` gives the method tissue maps, as in the paper; `input=intensity` is
the paper's own baseline.

The defaults are those of version 0.1. The released code (soumickmj/StRegA, eedc76c7) is
`squares="last"`, `sampled_context`, `scale_slices` and `keeps_background` with the residual's sign
`negative`, as `experiment=strega_paper` sets them. Different from it in any case: the tissue maps
are of our own HMRF-EM, not FSL FAST; at test time z is the posterior's mean, where the released
code draws one (`n_samples=1` does so, with the same noise for every slice); in 3D the squares are
cubes.
"""

from dataclasses import replace
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from brainuad.machine import ranks
from brainuad.methods.parts.geco import GECO
from brainuad.methods.parts.residuals import Residual
from brainuad.methods.vae import VAE, Network, drawn
from brainuad.networks.context_vae import gaussian_kl
from brainuad.synthetic.lesions.boxes import RULES, draw_boxes, paint_boxes
from brainuad.types import Batch


class StRegA(VAE):
    """Compact ceVAE, on slices or on volumes: a `VAE` that also repairs painted squares.

    Args:
        network: the variational autoencoder; or a plain one, without draws and KL.
        residual: from image, reconstruction and brain mask to the anomaly map.
        ce_factor: f, share of the context-encoding term (0.5 in ceVAE); 0 for none.
        geco: adapts theta, the reconstruction's weight; None for a constant one.
        max_squares: largest number of painted squares per slice.
        max_side: longest side of a square as a share of the slice's shorter side.
        squares: rule for number, sides and places, see `draw_boxes`: `last` as the released code
            draws them, `one_side` as its arguments read, `own_side`.
        sampled_context: whether the context term uses a drawn z, as in the released code
            (train.py:69, ceVae/aes.py:86-95); False for the posterior's mean.
        scale_slices: whether the loss uses `scaled` images, as in the released code
            (train.py:24-28); at test time images are not scaled (Pipeline.ipynb:178).
        keeps_background: whether the map keeps scores outside the brain, for post-processing that
            masks last (`Postprocess.masks_last`).
        vae: the other arguments of `VAE`; the paper's optimiser is Adam with 1e-4, its `kl_weight`
            0.01.

    Raises:
        ValueError: an option is out of range, or the network has no posterior for it.
    """

    def __init__(
        self,
        network: Network,
        residual: Residual,
        *,
        ce_factor: float = 0.5,
        geco: GECO | None = None,
        max_squares: int = 3,
        max_side: float = 0.5,
        squares: str = "own_side",
        sampled_context: bool = False,
        scale_slices: bool = False,
        keeps_background: bool = False,
        **vae: Any,
    ) -> None:
        super().__init__(network, residual, **vae)
        if squares not in RULES:
            raise ValueError(f"squares is '{squares}'; use one of {', '.join(RULES)}")
        self.traits = replace(
            self.traits,
            keeps_background=keeps_background,
            detection_options=(*self.traits.detection_options, "keeps_background"),
        )
        self.ce_factor = ce_factor
        self.geco = geco
        self.max_squares = max_squares
        self.max_side = max_side
        self.squares = squares
        self.sampled_context = sampled_context
        self.scale_slices = scale_slices

    def covered(self, tiles: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Paint the squares of the context term over tiles `(B, C, *S)`."""
        boxes = draw_boxes(tiles, self.max_squares, self.max_side, generator, self.squares)
        return paint_boxes(tiles, *boxes)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the objective of the module's docstring; in validation z is the mean, without
        squares.
        """
        image = given = scaled(batch.image) if self.scale_slices else batch.image
        if self.training and self.ce_factor > 0:
            # Clean and corrupted in one pass: the same numbers as two passes, but faster.
            given = torch.cat([image, self.covered(image)])
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


def scaled(image: Tensor) -> Tensor:
    """Return each image of `(B, C, *S)` minus its minimum, divided by its maximum.

    As in the released code, a minimum above 0 gives a maximum below 1. An image of zeros stays one;
    the released code drops those (train.py:31-33), and so does `build_cache`.
    """
    dims = tuple(range(1, image.ndim))
    low, high = image.amin(dims, keepdim=True), image.amax(dims, keepdim=True)
    return (image - low) / torch.where(high > 0, high, 1)

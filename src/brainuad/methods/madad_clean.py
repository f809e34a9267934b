"""MAD-AD with healthy prototypes, latent noise and a score by one pass; ours.

Lesions are smooth inside, unlike noise that is independent in each cell. The latents of a small
autoencoder leave one direction of four unused, and noise in it is easily recognised. So noise is
drawn in squares of cells, with the mean and the covariance of healthy latents. A convolutional
network has no information about its place in the brain, so it sees the nearest healthy prototype
and predicts the difference to it. At the last timestep noised cells carry no signal, so one pass
predicts the whole clean latent from its surroundings, and the mask is not needed.

Gains on painted lesions and on the embedded cohort: `experiments/madad_prototypes/README.md`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from brainuad.diffusion.process import Network, noisiness
from brainuad.methods.madad import MADAD
from brainuad.methods.parts.moments import Moments, shaped
from brainuad.methods.parts.prototypes import HealthyPrototypes, check_hints, correcting
from brainuad.methods.parts.residuals import Residual
from brainuad.networks.latent_autoencoder import LatentAutoencoder
from brainuad.networks.masked_unet import MaskedUNet
from brainuad.synthetic.noise.diffusion import Noise
from brainuad.types import Batch, Detection


class MADADClean(MADAD):
    """MAD-AD that restores the clean latent with healthy prototypes and latent noise.

    Args:
        first_stage: the autoencoder; frozen.
        network: `MaskedUNet`; with prototypes it has as many `hints` as channels.
        residual: from reference, reconstruction and brain mask to the anomaly map.
        prototypes: prototypes of healthy latents; the network sees the nearest one. None for the
            latent only, as published.
        noise: noise of the cells in training; None for independent ones, as published.
        latent_noise: whether noise has the mean and covariance of the healthy brain's cells in
            place of 0 and 1.
        scores_by: `residual` of the latent that the sampler restores, as published; or without
            sampling, of the untouched latent, `mask` for 1 - m, the mean over the timesteps
            (nothing is decoded), and `clean` for the residual of the clean latent that the network
            predicts at the last timestep, in one pass.
        reference: image that the reconstruction is compared with, `decoded` (the untouched latent,
            as published, so that the autoencoder's own error cancels) or `input`.
        published: the other arguments of `MADAD`.

    Raises:
        ValueError: an option is out of range, or the network's hints are not the prototypes'.
    """

    traits = replace(
        MADAD.traits,
        detection_options=(*MADAD.traits.detection_options, "scores_by", "reference"),
    )
    takes_hints = True
    noise_mean: Tensor
    noise_factor: Tensor

    def __init__(
        self,
        first_stage: LatentAutoencoder,
        network: MaskedUNet,
        residual: Residual,
        *,
        prototypes: HealthyPrototypes | None = None,
        noise: Noise | None = None,
        latent_noise: bool = False,
        scores_by: str = "residual",
        reference: str = "decoded",
        **published: Any,
    ) -> None:
        super().__init__(first_stage, network, residual, **published)
        if scores_by not in ("residual", "mask", "clean"):
            raise ValueError(f"scores_by is '{scores_by}'; use residual, mask or clean")
        if reference not in ("decoded", "input"):
            raise ValueError(f"reference is '{reference}'; use decoded or input")
        if self.n_samples > 1 and scores_by != "residual":
            raise ValueError(
                f"n_samples is {self.n_samples}, but every draw is the same; use "
                "scores_by=residual, as published"
            )
        check_hints(network.hints, 0 if prototypes is None else network.channels)
        self.traits = replace(self.traits, one_pass=scores_by != "residual")
        self.scores_by = scores_by
        self.reference = reference
        self.prototypes = prototypes
        if prototypes is not None:
            self.traits = replace(self.traits, places="used")
        if noise is not None:
            self.noise = noise
        self.latent_noise = latent_noise
        if latent_noise:
            self.register_buffer("noise_mean", torch.zeros(network.channels))
            self.register_buffer("noise_factor", torch.eye(network.channels))

    def measure(self, batches: Iterable[Batch]) -> None:
        """Measure the prototypes and the statistics of the noise, if they are used."""
        if self.prototypes is None and not self.latent_noise:
            return
        moments = Moments(self.network.channels)

        def means() -> Iterator[Tensor]:
            for batch in batches:
                latents = self.encode(*batch)
                moments.add(latents.mean, latents.brain_share[:, 0] >= self.patches.min_brain)
                yield latents.mean

        if self.prototypes is not None:
            self.prototypes.measure(means())
        else:
            for _ in means():
                pass
        # Without such a cell in the cohort, none is noised.
        if self.latent_noise and moments.count:
            self.noise_mean.copy_(moments.mean())
            self.noise_factor.copy_(moments.factor())

    def shaped(self, eps: Tensor) -> Tensor:
        """Return standard normal noise `(B, C, h, w)` in the statistics measured, if any."""
        if not self.latent_noise:
            return eps
        return shaped(eps, self.noise_mean, self.noise_factor)

    def asked(self, latent: Tensor) -> Network:
        """Return the network with the prototypes that `latent (B, C, h, w)` is nearest to, if any.

        The whole latent is compared, because its noised cells are unknown and equally far from
        every prototype.
        """
        if self.prototypes is None:
            return self.network
        every = torch.ones_like(latent[:, :1], dtype=torch.bool)
        return correcting(self.network, self.prototypes.nearest(latent, every))

    def score(self, image: Tensor, brain_mask: Tensor) -> Detection:
        """Return the residual of the restored or the predicted latent, or the predicted mask."""
        z = self.first_stage.encode(image)[0].float()
        if self.scores_by == "mask":
            noisy = noisiness(self.asked(z), z, self.timesteps)
            size = image.shape[2:]
            return Detection(functional.interpolate(noisy, size=size, mode="bilinear"), None)
        decoded = self.first_stage.decode(z)
        reference = image if self.reference == "input" else decoded
        if self.scores_by == "residual":
            return self.score_sampled(z, decoded, reference, brain_mask)
        last = torch.full((z.shape[0],), len(self.alpha_bar) - 1, device=z.device)
        healthy = self.first_stage.decode(self.asked(z)(z, last)[0].float())
        return Detection(self.residual(reference, healthy, brain_mask), healthy)

"""MAD-AD: masked diffusion in latent space.

Beizaee, Lodygensky, Desrosiers, Dolz, "MAD-AD: Masked Diffusion for Unsupervised Brain Anomaly
Detection", IPMI 2025 (arXiv 2502.16943), and its released code. Anomalies are treated as if they
were noise in some cells of the latent. Training adds noise to random patches. One network learns
which cells are clean (m) and the clean latent (x_0). Detection adds no noise and moves only the
cells that look noised towards the healthy latent.

    x_t = m x_0 + (1 - m) (sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps)
    L = mean (x_0_hat - x_0)^2 + mask_weight mean (m_hat - m)^2

Two things look like mistakes in the released code. `experiment=madad_paper` keeps both: one angle
and one shift (`augment=small_changes` has ranges), a first epoch of rate 0 (`from_zero=false`).

Differs from the released code (e76f546) throughout: the first stage is trained from nothing on the
same brains (there fine-tuned from natural images; how is not released, nor which slices its sets
hold). Slices are cut from volumes (there 8-bit images, resized by PIL). The sampler's noise is
drawn once for all slices, from a seed, so that a map does not depend on its batch; a shorter one
spreads its timesteps evenly (there strides). A noised patch may be cut at a latent's border.
Validation draws as training does, of mean latents (there sampled ones, shares below 0.3, patches
with 0.3, 0.3, 0.2, 0.2). Maps are zero outside the brain (there nothing is masked;
`protocol=slice_madad` has no mask after that). XL has 10 heads: with 12 it cannot be built.

`madad_clean` has ideas of ours.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from brainuad.diffusion.masks import (
    Patches,
    brain_share,
    draw_mask,
    patch_mask,
    spare_background,
)
from brainuad.diffusion.process import Network, Sampling, add_noise, restore
from brainuad.diffusion.schedule import cosine_alpha_bar, sampling_timesteps
from brainuad.machine.fingerprint import hash_weights
from brainuad.methods.base import AnomalyDetector, OptimizerFactory, SchedulerFactory, Traits
from brainuad.methods.parts.random_draws import score_draws
from brainuad.methods.parts.residuals import Residual, bind
from brainuad.networks.latent_autoencoder import LatentAutoencoder
from brainuad.networks.masked_unet import MaskedUNet
from brainuad.synthetic.noise.diffusion import GaussianNoise, Noise
from brainuad.tiles.cache import TileDataset
from brainuad.tiles.latents import Latents, build_latents
from brainuad.types import Batch, Detection


class MADAD(AnomalyDetector):
    """Masked latent diffusion, on slices.

    Args:
        first_stage: the autoencoder; frozen.
        network: `MaskedUNet`, which maps noised latents and timesteps to x_0 and m.
        residual: from decoded latent, reconstruction and brain mask to the anomaly map.
        optimizer: factory; the paper's is AdamW with 4e-5 and a weight decay of 1e-4.
        scheduler: factory or None.
        num_timesteps: T.
        patches: patches of cells that training noises; None for the paper's.
        mask_weight: weight of the mask's error.
        sampling: settings of the sampler; None for the paper's.
        n_samples: number of draws of the sampler's noise, from its seed and the following seeds.
            The map is their mean, the uncertainty their standard deviation. Several draws need an
            `eta` above 0.
        latent_copies: number of augmented copies per training slice that are encoded once and kept
            on disk; 0 augments and encodes in every step. Without augmentation slices are always
            encoded once.
        half_encoding: whether a GPU encodes in bfloat16; the released code uses float32.

    Raises:
        ValueError: an option is out of range, or the network's latents are not the autoencoder's.
    """

    traits = Traits(samples=True, detection_options=("residual", "sampling", "n_samples"))
    takes_hints = False
    """True if the network may take a hint beside the latent."""
    first_stage: LatentAutoencoder
    alpha_bar: Tensor

    def __init__(
        self,
        first_stage: LatentAutoencoder,
        network: MaskedUNet,
        residual: Residual,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        num_timesteps: int = 10,
        patches: Patches | None = None,
        mask_weight: float = 0.001,
        sampling: Sampling | None = None,
        n_samples: int = 1,
        latent_copies: int = 0,
        half_encoding: bool = True,
    ) -> None:
        super().__init__(optimizer, scheduler, first_stage)
        self.sampling = sampling or Sampling()
        if n_samples < 1 or latent_copies < 0:
            raise ValueError(
                f"n_samples is {n_samples}, latent_copies is {latent_copies}; use 1 or more, and 0 "
                "or more"
            )
        if n_samples > 1 and self.sampling.eta == 0:
            raise ValueError(
                f"n_samples is {n_samples}, but every draw is the same; use eta=0.5, as published"
            )
        if network.channels != first_stage.latent_channels:
            raise ValueError(
                f"the network takes latents of {network.channels} channels, the autoencoder's have "
                f"{first_stage.latent_channels}; set model.network.channels"
            )
        if network.hints and not self.takes_hints:
            raise ValueError(
                f"the network takes {network.hints} channels of hints, of which MAD-AD has none; "
                "set model.network.hints=0"
            )
        self.network = network
        self.residual = bind(residual, first_stage.features, draws=n_samples > 1)
        self.patches = patches or Patches()
        self.mask_weight = mask_weight
        self.latent_copies = latent_copies
        self.half_encoding = half_encoding
        steps = num_timesteps if self.sampling.steps is None else self.sampling.steps
        self.timesteps = sampling_timesteps(num_timesteps, steps)
        self.n_samples = n_samples
        self.noise: Noise = GaussianNoise()
        # Not in the checkpoint, because it is computed from T.
        self.register_buffer("alpha_bar", cosine_alpha_bar(num_timesteps), persistent=False)

    def shaped(self, eps: Tensor) -> Tensor:
        """Return standard normal noise `(B, C, h, w)` as it is added to latents."""
        return eps

    def asked(self, latent: Tensor) -> Network:
        """Return the network for the latent `(B, C, h, w)`."""
        return self.network

    def training_set(self, tiles: TileDataset, cache_dir: Path) -> Dataset[Any]:
        """Return latents if they are kept or always the same, otherwise the tiles."""
        if self.latent_copies == 0 and tiles.augment is not None:
            return tiles
        # Device and precision of `encode`.
        about = self.device.type if self.half_encoding else f"{self.device.type} float32"
        key = hash_weights(self.first_stage.state_dict(), about=about)
        return build_latents(tiles, self.encode, key, cache_dir / "latents", self.latent_copies)

    @torch.no_grad()
    def encode(self, image: Tensor, brain_mask: Tensor) -> Latents:
        """Encode images `(B, C, H, W)` and brain masks on any device to float32 latents on this
        one.
        """
        half = self.half_encoding and self.device.type == "cuda"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            mean, std = self.first_stage.encode(image.to(self.device))
        share = brain_share(brain_mask.to(self.device), self.first_stage.downsampling)
        return Latents(mean.float(), std.float(), share)

    def loss(self, batch: Batch | Latents) -> dict[str, Tensor]:
        """Return the objective above; in validation of means, with draws seeded by the batch's
        number.
        """
        latents = batch if isinstance(batch, Latents) else self.encode(*batch)
        count, cells = len(latents.mean), latents.mean.shape[2:]
        here = latents.mean.device
        # Drawn on the device in training; on the CPU in validation, the same for any device.
        generator = self.generator()
        where = here if self.training else torch.device("cpu")
        patches = self.patches
        sizes = tuple(patches.sizes), tuple(patches.probabilities), patches.max_fraction
        draw = draw_mask(count, cells, where, *sizes, generator=generator)
        shape = latents.mean.shape
        sample = torch.randn(shape, generator=generator, device=where).to(here)
        steps = torch.randint(len(self.alpha_bar), (count,), generator=generator, device=where)
        steps = steps.to(here)
        eps = self.shaped(self.noise(shape, steps, generator))
        x_0 = latents.mean + latents.std * sample if self.training else latents.mean
        mask = patch_mask(draw, cells).to(here)
        mask = spare_background(mask, latents.brain_share, patches.min_brain)
        x_t = add_noise(x_0, mask, self.alpha_bar[steps], eps)
        clean, found = self.asked(x_t)(x_t, steps)
        error = functional.mse_loss(clean.float(), x_0)
        mask_error = functional.mse_loss(found.float(), mask)
        loss = error + self.mask_weight * mask_error
        return {"loss": loss, "latent": error, "mask": mask_error}

    def score(self, image: Tensor, brain_mask: Tensor) -> Detection:
        """Return the residual of the restored latent, over the draws of the sampler's noise."""
        z = self.first_stage.encode(image)[0].float()
        decoded = self.first_stage.decode(z)
        return self.score_sampled(z, decoded, decoded, brain_mask)

    def score_sampled(
        self, z: Tensor, decoded: Tensor, reference: Tensor, brain_mask: Tensor
    ) -> Detection:
        """Score restorations of `z`, which decodes to `decoded`, by their residual to a reference.

        In a comparison with the decoded latent, the autoencoder's own error cancels.
        """
        draws = self._healthy(z, decoded)
        found = score_draws(self.residual, reference, brain_mask, draws, self.keeps_draws)
        return found if self.n_samples > 1 else found._replace(uncertainty=None, draws=None)

    def _healthy(self, z: Tensor, decoded: Tensor) -> Iterator[Tensor]:
        """Yield decoded restorations of `z`, one per draw of the sampler's noise.

        A slice without changed cells is not decoded again.
        """
        network, sampling = self.asked(z), self.sampling
        for seed in range(sampling.seed, sampling.seed + self.n_samples):
            generator = torch.Generator().manual_seed(seed)
            eps = torch.randn(len(self.timesteps), *z.shape[1:], generator=generator).to(z)
            way = self.alpha_bar, self.timesteps, self.shaped(eps)
            restored = restore(network, z, *way, sampling.eta, sampling.mask_threshold)
            moved = (restored != z).flatten(1).any(1)
            healthy = decoded.clone()
            if moved.any():
                healthy[moved] = self.first_stage.decode(restored[moved])
            yield healthy

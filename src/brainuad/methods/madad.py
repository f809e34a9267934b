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

Ours, in `experiment=madad_prototypes`: coarse noise (`CoarseNoise`) with the statistics of healthy
latents, the difference to a healthy prototype, a score by one pass without the sampler.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from brainuad.diffusion.masks import (
    PROBABILITIES,
    SIZES,
    brain_share,
    check_patches,
    draw_mask,
    patch_mask,
    spare_background,
)
from brainuad.diffusion.process import Network, add_noise, noisiness, restore
from brainuad.diffusion.schedule import cosine_alpha_bar, sampling_timesteps
from brainuad.machine.fingerprint import hash_weights
from brainuad.methods.base import AnomalyDetector, OptimizerFactory, SchedulerFactory
from brainuad.methods.parts.moments import Moments, shaped
from brainuad.methods.parts.prototypes import HealthyPrototypes, check_hints, correcting
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
        autoencoder: the first stage; frozen.
        network: `MaskedUNet`, from noised latents and timesteps to x_0 and m.
        residual: from reference, reconstruction and brain mask to the anomaly map.
        optimizer: factory; the paper's is AdamW with 4e-5 and a weight decay of 1e-4.
        scheduler: factory or None.
        num_timesteps: T.
        patch_sizes: sides of a noised patch in cells.
        patch_probabilities: of these; height and width are drawn independently.
        max_fraction: a slice's noised share is uniform between 0 and this.
        min_brain: cells whose surroundings hold less brain than this are never noised.
        mask_weight: of the mask's error.
        latent_copies: of every training slice, each augmented in its own way and encoded once, to
            be kept on disk; 0 augments and encodes anew in every step. What is not augmented is
            encoded once in any case.
        half_encoding: whether a GPU encodes in bfloat16; the released code does in float32.
        sampling_steps: of the sampler, 1 to T; None for T.
        eta: 0 makes the sampler deterministic, 1 is DDPM.
        mask_threshold: cells whose predicted m is this or more keep their value; above 1 none.
        seed: of the sampler's noise.
        n_samples: 1, or so many draws of the noise, of `seed` and the next ones: the map is their
            mean, the uncertainty their standard deviation. More than one takes an `eta` above 0
            and the sampler.
        scores_by: `residual` of what the sampler restores; or without sampling, of the untouched
            latent, `mask` for 1 - m, the mean over the timesteps (nothing is decoded), and `clean`
            (ours) for the residual of the whole clean latent that the network predicts at the last
            timestep, where what is noised says nothing: one pass.
        reference: what the reconstruction is compared with, `decoded` (the untouched latent, so
            that the autoencoder's own error cancels) or `input`.
        prototypes: of healthy latents (ours): a network with as many `hints` as channels sees the
            nearest one beside its own latent and predicts the difference to it; None for the latent
            alone, as published.
        noise: of the noised cells in training; None for independent ones, as published.
        latent_noise: whether noise has the mean and covariance of the healthy brain's cells (ours)
            in place of 0 and 1. The latents of a small autoencoder may leave directions unused
            (the fourth of four, seen), and whatever is off them tells noise from any tissue.

    Raises:
        ValueError: an option is out of range, or the network's latents are not the autoencoder's.
    """

    alpha_bar: Tensor
    noise_mean: Tensor
    noise_factor: Tensor

    def __init__(
        self,
        autoencoder: LatentAutoencoder,
        network: MaskedUNet,
        residual: Residual,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        num_timesteps: int = 10,
        patch_sizes: Sequence[int] = SIZES,
        patch_probabilities: Sequence[float] = PROBABILITIES,
        max_fraction: float = 0.4,
        min_brain: float = 0.9,
        mask_weight: float = 0.001,
        latent_copies: int = 0,
        sampling_steps: int | None = None,
        eta: float = 0.5,
        mask_threshold: float = 0.5,
        seed: int = 0,
        n_samples: int = 1,
        scores_by: str = "residual",
        reference: str = "decoded",
        prototypes: HealthyPrototypes | None = None,
        noise: Noise | None = None,
        latent_noise: bool = False,
        half_encoding: bool = True,
    ) -> None:
        super().__init__(optimizer, scheduler)
        if scores_by not in ("residual", "mask", "clean"):
            raise ValueError(f"scores_by is '{scores_by}'; use residual, mask or clean")
        if reference not in ("decoded", "input"):
            raise ValueError(f"reference is '{reference}'; use decoded or input")
        if n_samples < 1 or not 0 <= eta <= 1:
            raise ValueError(f"n_samples is {n_samples}, eta {eta}; use 1 or more and 0 to 1")
        if n_samples > 1 and (eta == 0 or scores_by != "residual"):
            raise ValueError(
                f"n_samples is {n_samples}, but every draw is the same; use eta=0.5 and "
                "scores_by=residual, as published"
            )
        if latent_copies < 0 or not 0 <= max_fraction <= 1:
            raise ValueError(
                f"latent_copies is {latent_copies}, max_fraction {max_fraction}; use 0 or more and "
                "0 to 1"
            )
        check_patches(patch_sizes, patch_probabilities)
        if network.channels != autoencoder.latent_channels:
            raise ValueError(
                f"the network takes latents of {network.channels} channels, the autoencoder's have "
                f"{autoencoder.latent_channels}; set model.network.channels"
            )
        check_hints(network.hints, 0 if prototypes is None else network.channels)
        self.autoencoder = autoencoder
        self.autoencoder.freeze()
        self.network = network
        self.residual = bind(residual, autoencoder.features, draws=n_samples > 1)
        self.draw_mask = partial(
            draw_mask,
            sizes=tuple(patch_sizes),
            probabilities=tuple(patch_probabilities),
            max_fraction=max_fraction,
        )
        self.min_brain = min_brain
        self.mask_weight = mask_weight
        self.latent_copies = latent_copies
        self.half_encoding = half_encoding
        sampling_steps = num_timesteps if sampling_steps is None else sampling_steps
        self.timesteps = sampling_timesteps(num_timesteps, sampling_steps)
        self.eta = eta
        self.mask_threshold = mask_threshold
        self.seed = seed
        self.n_samples = n_samples
        self.scores_by = scores_by
        self.reference = reference
        self.prototypes = prototypes
        self.noise = GaussianNoise() if noise is None else noise
        self.latent_noise = latent_noise
        if latent_noise:
            self.register_buffer("noise_mean", torch.zeros(network.channels))
            self.register_buffer("noise_factor", torch.eye(network.channels))
        # Not in the checkpoint: it is its closed form.
        self.register_buffer("alpha_bar", cosine_alpha_bar(num_timesteps), persistent=False)

    @property
    def measures(self) -> bool:
        """Whether there are prototypes, or noise like the latents."""
        return self.prototypes is not None or self.latent_noise

    def measure(self, batches: Iterable[Batch]) -> None:
        """Prototypes and the statistics of the noise, where they are wanted."""
        moments = Moments(self.network.channels)

        def means() -> Iterator[Tensor]:
            for batch in batches:
                latents = self.encode(*batch)
                moments.add(latents.mean, latents.brain_share[:, 0] >= self.min_brain)
                yield latents.mean

        if self.prototypes is not None:
            self.prototypes.measure(means())
        else:
            for _ in means():
                pass
        # Of a cohort without such a cell none is ever noised.
        if self.latent_noise and moments.count:
            self.noise_mean.copy_(moments.mean())
            self.noise_factor.copy_(moments.factor())

    def shaped(self, eps: Tensor) -> Tensor:
        """Standard normal noise `(B, C, h, w)` in the statistics that were measured, if any."""
        if not self.latent_noise:
            return eps
        return shaped(eps, self.noise_mean, self.noise_factor)

    def asked(self, latent: Tensor) -> Network:
        """The network with the prototypes `latent (B, C, h, w)` is nearest to, where there are any.

        They are found by the whole latent: it does not show which of its cells are noise, and that
        is far from every prototype alike.
        """
        if self.prototypes is None:
            return self.network
        every = torch.ones_like(latent[:, :1], dtype=torch.bool)
        return correcting(self.network, self.prototypes.nearest(latent, every))

    def training_set(self, tiles: TileDataset, cache_dir: Path) -> Dataset[Any]:
        """Latents, where they are kept or always the same; the tiles otherwise."""
        if self.latent_copies == 0 and tiles.augment is not None:
            return tiles
        # Of the device and the precision of `encode`.
        about = self.device.type if self.half_encoding else f"{self.device.type} float32"
        key = hash_weights(self.autoencoder.state_dict(), about=about)
        return build_latents(tiles, self.encode, key, cache_dir / "latents", self.latent_copies)

    @torch.no_grad()
    def encode(self, image: Tensor, brain_mask: Tensor) -> Latents:
        """Images `(B, C, H, W)` and brain masks, on any device, to float32 latents on this one."""
        half = self.half_encoding and self.device.type == "cuda"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            mean, std = self.autoencoder.encode(image.to(self.device))
        share = brain_share(brain_mask.to(self.device), self.autoencoder.downsampling)
        return Latents(mean.float(), std.float(), share)

    def loss(self, batch: Batch | Latents) -> dict[str, Tensor]:
        """The objective above; in validation of means, with draws of the batch's number."""
        latents = batch if isinstance(batch, Latents) else self.encode(*batch)
        count, cells = len(latents.mean), latents.mean.shape[2:]
        here = latents.mean.device
        # Drawn on the device in training; on the CPU in validation, the same for any device.
        generator = self.generator()
        where = here if self.training else torch.device("cpu")
        draw = self.draw_mask(count, cells, where, generator=generator)
        shape = latents.mean.shape
        sample = torch.randn(shape, generator=generator, device=where).to(here)
        steps = torch.randint(len(self.alpha_bar), (count,), generator=generator, device=where)
        steps = steps.to(here)
        eps = self.shaped(self.noise(shape, steps, generator))
        x_0 = latents.mean + latents.std * sample if self.training else latents.mean
        mask = patch_mask(draw, cells).to(here)
        mask = spare_background(mask, latents.brain_share, self.min_brain)
        x_t = add_noise(x_0, mask, self.alpha_bar[steps], eps)
        clean, found = self.asked(x_t)(x_t, steps)
        error = functional.mse_loss(clean.float(), x_0)
        mask_error = functional.mse_loss(found.float(), mask)
        loss = error + self.mask_weight * mask_error
        return {"loss": loss, "latent": error, "mask": mask_error}

    def score(self, image: Tensor, brain_mask: Tensor) -> Detection:
        """The residual of the restored or the predicted latent, or the predicted mask."""
        z = self.autoencoder.encode(image)[0].float()
        if self.scores_by == "mask":
            noisy = noisiness(self.asked(z), z, self.timesteps)
            size = image.shape[2:]
            return Detection(functional.interpolate(noisy, size=size, mode="bilinear"), None)
        decoded = self.autoencoder.decode(z)
        reference = image if self.reference == "input" else decoded
        if self.scores_by == "clean":
            last = torch.full((len(z),), len(self.alpha_bar) - 1, device=z.device)
            healthy = self.autoencoder.decode(self.asked(z)(z, last)[0].float())
            return Detection(self.residual(reference, healthy, brain_mask), healthy)
        draws = self._healthy(z, decoded)
        found = score_draws(self.residual, reference, brain_mask, draws, self.keeps_draws)
        return found if self.n_samples > 1 else found._replace(uncertainty=None, draws=None)

    def _healthy(self, z: Tensor, decoded: Tensor) -> Iterator[Tensor]:
        """Decoded restorations of `z`, one a draw of the sampler's noise.

        A slice in which nothing moved is what `z` decodes to and is not decoded again.
        """
        network = self.asked(z)
        for seed in range(self.seed, self.seed + self.n_samples):
            generator = torch.Generator().manual_seed(seed)
            eps = torch.randn(len(self.timesteps), *z.shape[1:], generator=generator).to(z)
            eps = self.shaped(eps)
            restored = restore(
                network, z, self.alpha_bar, self.timesteps, eps, self.eta, self.mask_threshold
            )
            moved = (restored != z).flatten(1).any(1)
            healthy = decoded.clone()
            if moved.any():
                healthy[moved] = self.autoencoder.decode(restored[moved])
            yield healthy

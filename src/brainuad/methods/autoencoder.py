"""The KL autoencoder: first stage of latent methods, and a detector of its own.

Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", CVPR 2022 (arXiv
2112.10752), with MONAI's network and discriminator. On images x in [-1, 1]:

    L = |x_hat - x|_1 + kl_weight KL(q(z|x) || N(0, I)) + w_t [ G(x_hat) + D(x_hat, x) ]

with means over pixels and latent elements, z sampled. G is the least-squares loss of the
reconstruction under the patch discriminator, through which no gradient reaches the discriminator; D
is the discriminator's own, through which none reaches the autoencoder; w_t is 0 before
`adversarial_start` steps. One optimiser trains both networks. Each receives the same gradient as in
alternating updates (clipping is by the norm of both).

Differs from the paper: L1 without a perceptual term, because its features are a download; a fixed
adversarial weight in place of the one adapted to the last layer's gradient; KL as a mean. As a
detector it scores by its residual, as a control that shows what the diffusion adds.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from itertools import islice

import numpy as np
import torch
from monai.losses.adversarial_loss import PatchAdversarialLoss
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from brainuad.errors import InputError
from brainuad.machine.text import say
from brainuad.methods.base import OptimizerFactory, ReconstructionDetector, SchedulerFactory
from brainuad.methods.parts.adversarial import judge
from brainuad.methods.parts.residuals import Residual
from brainuad.networks.latent_autoencoder import LatentAutoencoder, measure_scale
from brainuad.records.stage_quality import StageQuality
from brainuad.types import Batch

MOST_SCANS = 50
"""Largest number of scans that measure the scale, and the quality."""


class KLAutoencoder(ReconstructionDetector):
    """Autoencoder with a KL-regularised, measured latent.

    Args:
        autoencoder: network with its latent scale, which a second stage uses.
        residual: from image, reconstruction and brain mask to the anomaly map.
        optimizer: factory.
        scheduler: factory or None.
        discriminator: factory of the patch discriminator; not called without a weight.
        kl_weight: weight of the KL term.
        adversarial_weight: w; 0 builds no discriminator.
        adversarial_start: training steps before the adversarial terms count.
        min_psnr_db: smallest PSNR on healthy held-out brains without a warning. 26 dB is an error
            of 0.05 of the intensity range, the contrast of a faint lesion.
        min_ssim: the same for the structural similarity, in [0, 1].
    """

    traits = replace(ReconstructionDetector.traits, compiled=("forward", "encode", "decode"))

    def __init__(
        self,
        autoencoder: LatentAutoencoder,
        residual: Residual,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        discriminator: Callable[[], nn.Module] | None = None,
        kl_weight: float = 1e-3,
        adversarial_weight: float = 0.0,
        adversarial_start: int = 1000,
        min_psnr_db: float = 26.0,
        min_ssim: float = 0.85,
    ) -> None:
        super().__init__(residual, optimizer, scheduler, features=autoencoder.features)
        self.autoencoder = autoencoder
        self.discriminator = None
        if adversarial_weight > 0:
            if discriminator is None:
                raise ValueError("adversarial_weight is above 0; give a discriminator")
            self.discriminator = discriminator()
            # Otherwise MONAI puts a leaky ReLU before the squares.
            self.adversarial = PatchAdversarialLoss(
                criterion="least_squares", no_activation_leastsq=True
            )
        self.kl_weight = kl_weight
        self.adversarial_weight = adversarial_weight
        self.adversarial_start = adversarial_start
        self.min_psnr_db = min_psnr_db
        self.min_ssim = min_ssim

    def reconstruct(self, image: Tensor, brain_mask: Tensor) -> Tensor:
        """Decode the posterior's mean."""
        return self.autoencoder.decode(self.autoencoder.encode(image)[0])

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the objective above; in validation z is the mean, without adversarial terms.

        Otherwise the best epoch would be one with a weak discriminator.
        """
        mean, std = self.autoencoder.encode(batch.image)
        # By its shape, because the noise of randn_like depends on the memory layout.
        noise = torch.randn(std.shape, device=std.device) if self.training else 0
        z = mean + std * noise
        reconstruction = self.autoencoder.decode(z)
        l1 = 2 * (reconstruction - batch.image).abs().mean()
        scale = self.autoencoder.scale
        kl = kl_divergence(Normal(mean / scale, std / scale), Normal(0.0, 1.0)).mean()
        terms = {"loss": l1 + self.kl_weight * kl, "l1": l1, "kl": kl}
        if self.training and self.discriminator is not None:
            generator, discriminator = self._adversarial(batch.image, reconstruction)
            # Multiplied by zero before the start, so that every parameter has a gradient in every
            # step.
            on = float(self.step >= self.adversarial_start)
            terms["loss"] = terms["loss"] + on * self.adversarial_weight * (
                generator + discriminator
            )
            terms |= {"generator": generator, "discriminator": discriminator}
        return terms

    def calibrate(self, train: Iterable[Batch], held_out: Iterable[Batch]) -> Mapping[str, float]:
        """Measure the latent scale on training scans and the quality on held-out ones."""
        self.measure_scale(train)
        return self.measure_quality(held_out)

    def measure_scale(self, train: Iterable[Batch]) -> None:
        """Set the latent scale from the tiles of training scans."""
        self.eval()
        scans = islice(train, MOST_SCANS)
        images = (part.to(self.device) for tiles, _ in scans for part in tiles.split(32))
        measure_scale(self.autoencoder, images)

    def measure_quality(self, held_out: Iterable[Batch]) -> dict[str, float]:
        """Measure the quality on the tiles of held-out scans.

        Print it in one line, with a warning if the quality is poor.

        Returns:
            The values of `StageQuality`, and the latent scale as `scale`.

        Raises:
            InputError: there is no scan.
        """
        self.eval()
        found = [
            reconstruction_quality(self.autoencoder, tiles.to(self.device), masks.to(self.device))
            for tiles, masks in islice(held_out, MOST_SCANS)
        ]
        if not found:
            raise InputError("no healthy held-out scan can be read any more; put them back")
        psnr, ssim = (float(np.mean(values)) for values in zip(*found, strict=True))
        scale = self.autoencoder.scale.item()
        say(
            f"autoencoder: PSNR {psnr:.1f} dB, SSIM {ssim:.3f} in {len(found)} held-out healthy "
            f"brains, latent scale {scale:.3f}"
        )
        quality = StageQuality(len(found), psnr, ssim, self.min_psnr_db, self.min_ssim)
        if quality.is_poor:
            say(f"warning: {quality.warning}")
        return asdict(quality) | {"scale": scale}

    def _adversarial(self, image: Tensor, reconstruction: Tensor) -> tuple[Tensor, Tensor]:
        """Return G for the autoencoder and D for the discriminator."""
        assert self.discriminator is not None
        judged = judge(self.discriminator, 2 * reconstruction - 1, 2 * image - 1)
        is_real = (True, False, True)
        own = (False, True, True)
        generator, fake, real = (
            self.adversarial(values, target_is_real=target, for_discriminator=for_discriminator)
            for values, target, for_discriminator in zip(judged, is_real, own, strict=True)
        )
        discriminator = (fake + real) / 2
        return generator, discriminator


@torch.no_grad()
def reconstruction_quality(
    autoencoder: LatentAutoencoder, tiles: Tensor, brain_mask: Tensor
) -> tuple[float, float]:
    """Return PSNR in dB and SSIM (Gaussian window) over the brain of one scan; data range 1.

    Args:
        autoencoder: in evaluation mode, on the device of the others.
        tiles: `(N, C, H, W)` in [0, 1].
        brain_mask: `(N, 1, H, W)` bool.
    """
    # Its import takes a second or two.
    from torchmetrics.functional.image import structural_similarity_index_measure

    parts = [autoencoder.decode(autoencoder.encode(part)[0]) for part in tiles.split(32)]
    zero = torch.zeros((), device=tiles.device)
    found = torch.where(brain_mask, torch.cat(parts).clamp(0, 1), zero)
    inside = brain_mask.expand_as(tiles)
    psnr = -10 * (found - tiles)[inside].double().square().mean().log10()
    full = structural_similarity_index_measure(
        found, tiles, data_range=1.0, return_full_image=True
    )[1]
    return psnr.item(), full[inside].double().mean().item()

"""AnoDDPM: partial diffusion with simplex noise.

Wyatt, Leach, Schmon, Willcocks, "AnoDDPM: Anomaly Detection with Denoising Diffusion Probabilistic
Models using Simplex Noise", CVPR Workshops 2022, and its released code. Images x_0 are in [-1, 1],
eps is simplex noise (`diffusion/simplex.py`) or Gaussian, the schedule linear, T = 1000:

    x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps
    L = mean (net(x_t, t) - eps)^2,   t uniform in 0..max_timestep - 1

At test time an image is noised to step `start`, not to pure noise, and denoised from there. Healthy
tissue returns unchanged, and abnormal tissue is replaced by healthy tissue. The map is (x_0 -
x_hat)^2.

The released code starts at step 200 for its MRI metrics and at 250 for its ROC curves
(`detection.py:226`, `:503`). Its mask is where the squared difference on [-1, 1] exceeds 0.5
(`:232`), which is 0.125 on our [0, 1]. Its argument file names the attention levels "16,8", but
training does not pass them to the network, whose default is "32,16,8"
(`diffusion_training.py:40-44`). So ours attends on these three.

Differs from the released code: `sampling_steps` may be fewer than `start`, by DDIM; the noise is
drawn once for all slices, from a seed, so that a slice's map does not depend on its batch; with
several `n_samples` the maps are averaged, not the reconstructions; intensities are in [0, 1], so
the map is a quarter of the code's.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from brainuad.diffusion.process import add_noise, clean_image, restore
from brainuad.diffusion.schedule import linear_alpha_bar, sampling_timesteps
from brainuad.methods.base import AnomalyDetector, OptimizerFactory, SchedulerFactory, Traits
from brainuad.methods.parts.centre import enlarged, reduced
from brainuad.methods.parts.random_draws import score_draws
from brainuad.methods.parts.residuals import Residual, bind
from brainuad.networks.pixel_unet import PixelUNet
from brainuad.synthetic.noise.diffusion import GaussianNoise, Noise
from brainuad.types import Batch, Detection


class AnoDDPM(AnomalyDetector):
    """Partial diffusion in pixel space, on slices.

    Args:
        network: predicts the noise from noised images in [-1, 1] and timesteps.
        residual: from image, reconstruction and brain mask to the anomaly map.
        optimizer: factory; the paper's is AdamW with 1e-4, without weight decay.
        scheduler: factory or None.
        noise: `SimplexNoise` as published; None for Gaussian.
        num_timesteps: T.
        max_timestep: training draws timesteps below it.
        start: number of steps of noise at test, 1 to `max_timestep`; 250 or 200 as released.
        sampling_steps: number of denoising steps, 1 to `start`; None for `start`.
        eta: 1 is DDPM, 0 is DDIM without added noise.
        seed: seed of the noise at test.
        n_samples: number of draws of that noise, from `seed` and the following seeds. The map is
            their mean, the uncertainty their standard deviation.
        variance: variance of a step back, by eta^2: `posterior`, (1 - alpha_bar_{t-1}) /
            (1 - alpha_bar_t) beta_t, or `beta`, beta_t as released (`GaussianDiffusion.py:282`).
        test_crop: height and width in pixels of the centre that is enlarged to the slice's size at
            test; pixels outside score 0. None uses the whole slice.

    Raises:
        ValueError: an option is out of range, or the residual takes what the method does not have.
    """

    traits = Traits(
        samples=True,
        detection_options=(
            *("residual", "start", "sampling_steps", "eta", "seed", "n_samples", "variance"),
            "test_crop",
        ),
    )
    alpha_bar: Tensor

    def __init__(
        self,
        network: PixelUNet,
        residual: Residual,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        noise: Noise | None = None,
        num_timesteps: int = 1000,
        max_timestep: int = 800,
        start: int = 250,
        sampling_steps: int | None = None,
        eta: float = 1.0,
        seed: int = 0,
        n_samples: int = 1,
        variance: Literal["posterior", "beta"] = "posterior",
        test_crop: Sequence[int] | None = None,
    ) -> None:
        super().__init__(optimizer, scheduler)
        if not 1 <= start <= max_timestep <= num_timesteps:
            raise ValueError(
                f"start is {start}, max_timestep {max_timestep}, num_timesteps {num_timesteps}; "
                "use 1 <= start <= max_timestep <= num_timesteps"
            )
        if n_samples < 1 or not 0 <= eta <= 1:
            raise ValueError(f"n_samples is {n_samples}, eta {eta}; use 1 or more and 0 to 1")
        if variance not in ("posterior", "beta"):
            raise ValueError(f"variance is '{variance}'; use posterior or beta")
        self.network = network
        self.residual = bind(residual, draws=n_samples > 1)
        self.noise = noise or GaussianNoise()
        self.max_timestep = max_timestep
        steps = sampling_timesteps(start, start if sampling_steps is None else sampling_steps)
        # A single step starts at the timestep that the image was noised to.
        self.timesteps = [start - 1] if len(steps) == 1 else steps
        self.start = start
        self.eta = eta
        self.seed = seed
        self.n_samples = n_samples
        self.variance = variance
        self.test_crop = None if test_crop is None else tuple(test_crop)
        # Not in the checkpoint, because it is computed from T.
        self.register_buffer("alpha_bar", linear_alpha_bar(num_timesteps), persistent=False)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the objective above; in validation with draws seeded by the batch's number."""
        x_0 = 2 * batch.image - 1
        count, here = len(x_0), x_0.device
        # Drawn on the device in training; on the CPU in validation, the same for any device.
        generator = self.generator()
        where = here if self.training else torch.device("cpu")
        t = torch.randint(self.max_timestep, (count,), generator=generator, device=where).to(here)
        eps = self.noise(x_0.shape, t, generator)
        found = self.network(self._noised(x_0, eps, t), t)
        return {"loss": functional.mse_loss(found.float(), eps)}

    def score(self, image: Tensor, brain_mask: Tensor) -> Detection:
        """Return the residual of the denoised image, over the draws of the noise."""
        if self.test_crop is None:
            return self._score(image, brain_mask)
        crop = self.test_crop
        found = self._score(enlarged(image, crop), enlarged(brain_mask.float(), crop) > 0.5)
        others = (None if part is None else reduced(part, crop) for part in found[1:])
        return Detection(reduced(found.anomaly_map, crop), *others)

    def _score(self, image: Tensor, brain_mask: Tensor) -> Detection:
        healthy = self._healthy(2 * image - 1)
        found = score_draws(self.residual, image, brain_mask, healthy, self.keeps_draws)
        return found if self.n_samples > 1 else found._replace(uncertainty=None, draws=None)

    def _healthy(self, x_0: Tensor) -> Iterator[Tensor]:
        for seed in range(self.seed, self.seed + self.n_samples):
            generator = torch.Generator().manual_seed(seed)
            steps = [self.start - 1, *(self.timesteps if self.eta > 0 else [])]
            # One at a time: the halves of a batch of noise are not independent.
            first, *others = (
                self.noise((1, *x_0.shape[1:]), torch.tensor([t], device=x_0.device), generator)
                for t in steps
            )
            x_t = self._noised(x_0, first, torch.tensor([self.start - 1], device=x_0.device))
            eps = (
                torch.cat(others) if others else torch.zeros(len(self.timesteps), device=x_0.device)
            )
            if others and self.variance == "beta":
                eps = eps * self._beta_by_posterior().sqrt()
            clean = restore(self._predict, x_t, self.alpha_bar, self.timesteps, eps, self.eta)
            yield (clean + 1) / 2

    def _beta_by_posterior(self) -> Tensor:
        """Return the ratio of both variances at each denoising step; 1 for the last, which adds no
        noise.
        """
        rest = 1 - self.alpha_bar[self.timesteps]
        ratio = torch.ones_like(rest)
        ratio[:-1] = rest[:-1] / rest[1:]
        return ratio.view(-1, 1, 1, 1)

    def _noised(self, x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        nowhere = torch.zeros((), device=x_0.device)
        return add_noise(x_0, nowhere, self.alpha_bar[t], eps)

    def _predict(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the clean image that the predicted noise implies, and an empty mask of clean
        pixels.
        """
        eps = self.network(x_t, t).float()
        clean = clean_image(x_t, eps, self.alpha_bar[t]).clamp(-1, 1)
        return clean, torch.zeros_like(x_t[:, :1])

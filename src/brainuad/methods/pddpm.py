"""pDDPM: a diffusion model that predicts one noised patch from the rest of the brain.

Behrendt, Bhattacharya, Krüger, Opfer, Schlaefer, "Patched Diffusion Models for Unsupervised Anomaly
Detection in Brain MRI", MIDL 2023 (arXiv 2303.03758), and its released code. Images x_0 are in
[-1, 1], m is 0 in a patch and 1 in its context, eps is simplex noise:

    x_t = m x_0 + (1 - m) (sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps),  t uniform in 0..T-1
    L = mean over all pixels of (1 - m) |net(x_t, t) - x_0|

The network predicts the clean image. At test time every patch of a grid is noised in turn, at one
t, with the others as context. One pass predicts its clean version, without sampling, and the
patches are combined: sum_p (1 - m_p) net(x_t^p, t). The map is |x - x_hat|.

The released noise is `SimplexNoise2D`, the released network `PixelUNet(scale_shift=True)`, the
post-processing `postprocess=pddpm`. Differs from the released code: the noise at test is drawn once
for all volumes, from a seed, so that a slice's map does not depend on its batch (`n_samples`
draws), where the code draws for each volume; images are smoothed only if the preparation does so
(`CurvatureFlowd`).
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from brainuad.diffusion.patches import draw_patches, grid_masks
from brainuad.diffusion.process import add_noise
from brainuad.diffusion.schedule import cosine_alpha_bar
from brainuad.methods.base import AnomalyDetector, OptimizerFactory, SchedulerFactory, Traits
from brainuad.methods.parts.random_draws import score_draws
from brainuad.methods.parts.residuals import Residual, bind
from brainuad.networks.pixel_unet import PixelUNet
from brainuad.synthetic.noise.diffusion import GaussianNoise, Noise
from brainuad.types import Batch, Detection


class PDDPM(AnomalyDetector):
    """Patched diffusion, on slices.

    Args:
        network: predicts clean images from noised images in [-1, 1] and timesteps.
        residual: from image, reconstruction and brain mask to the anomaly map.
        optimizer: factory; the paper's is Adam with 1e-4.
        scheduler: factory or None.
        noise: `SimplexNoise2D` as published; None for Gaussian.
        num_timesteps: T.
        test_timestep: number of steps of noise at test, 1 to T.
        patches: number along height and width; 2 x 2 are the paper's 48 x 48 of 96 x 96 pixels.
        on_grid: train on the patches of the test's grid; False trains on patches anywhere.
        seed: seed of the noise at test.
        n_samples: number of draws of that noise, from `seed` and the following seeds. The map is
            their mean, the uncertainty their standard deviation.
        chunk: largest number of noised images per forward pass.

    Raises:
        ValueError: an option is out of range, or the residual takes what the method does not have.
    """

    traits = Traits(
        samples=True,
        detection_options=("residual", "test_timestep", "seed", "n_samples"),
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
        test_timestep: int = 500,
        patches: Sequence[int] = (2, 2),
        on_grid: bool = True,
        seed: int = 0,
        n_samples: int = 1,
        chunk: int = 128,
    ) -> None:
        super().__init__(optimizer, scheduler)
        if not 1 <= test_timestep <= num_timesteps:
            raise ValueError(f"test_timestep is {test_timestep}; use 1 to {num_timesteps}")
        if n_samples < 1 or chunk < 1 or min(patches) < 1:
            raise ValueError(
                f"n_samples is {n_samples}, chunk {chunk}, patches {patches}; use 1 or more"
            )
        self.network = network
        self.residual = bind(residual, draws=n_samples > 1)
        self.noise = noise or GaussianNoise()
        self.test_timestep = test_timestep
        self.patches = tuple(patches)
        self.on_grid = on_grid
        self.seed = seed
        self.n_samples = n_samples
        self.chunk = chunk
        # Not in the checkpoint, because it is computed from T.
        self.register_buffer("alpha_bar", cosine_alpha_bar(num_timesteps), persistent=False)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the objective above; in validation with draws seeded by the batch's number."""
        x_0 = 2 * batch.image - 1
        count, size, here = len(x_0), x_0.shape[2:], x_0.device
        # Drawn on the device in training; on the CPU in validation, the same for any device.
        generator = self.generator()
        where = here if self.training else torch.device("cpu")
        t = torch.randint(len(self.alpha_bar), (count,), generator=generator, device=where).to(here)
        mask = draw_patches(count, size, self.patches, self.on_grid, where, generator).to(here)
        eps = self.noise(x_0.shape, t, generator)
        x_t = add_noise(x_0, mask, self.alpha_bar[t], eps)
        error = (1 - mask) * (self.network(x_t, t).float() - x_0).abs()
        return {"loss": error.mean()}

    def score(self, image: Tensor, brain_mask: Tensor) -> Detection:
        """Return the residual of the combined patches, over the draws of the noise."""
        healthy = self._healthy(2 * image - 1)
        found = score_draws(self.residual, image, brain_mask, healthy, self.keeps_draws)
        return found if self.n_samples > 1 else found._replace(uncertainty=None, draws=None)

    def _healthy(self, x_0: Tensor) -> Iterator[Tensor]:
        masks = grid_masks(x_0.shape[2:], self.patches, x_0.device)
        t = torch.tensor([self.test_timestep - 1], device=x_0.device)
        for seed in range(self.seed, self.seed + self.n_samples):
            eps = self.noise((1, *x_0.shape[1:]), t, torch.Generator().manual_seed(seed))
            yield (self._stitch(x_0, masks, eps, t) + 1) / 2

    def _stitch(self, x_0: Tensor, masks: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """Return the clean version of each patch, in its place; `(B, C, H, W)` in [-1, 1]."""
        # Every slice with every patch, (B P), in one batch.
        noised = torch.cat([add_noise(x_0, mask, self.alpha_bar[t], eps) for mask in masks])
        clean = torch.cat(
            [self.network(x_t, t.expand(len(x_t))) for x_t in noised.split(self.chunk)]
        )
        return sum((1 - m) * part for m, part in zip(masks, clean.chunk(len(masks)), strict=True))

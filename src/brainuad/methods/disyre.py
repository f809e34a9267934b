"""DISYRE: restores synthetic anomalies, however far they have gone, and scores what it changes.

Naval Marimont et al., "DISYRE: Diffusion-Inspired SYnthetic REstoration for Unsupervised Anomaly
Detection", ISBI 2024 (arXiv 2311.15453), and its second version, "Ensembled Cold-Diffusion
Restorations for Unsupervised Anomaly Detection", MICCAI 2024 (arXiv 2407.06635); released code
snavalm/disyre. As in cold diffusion, noise is replaced by another corruption: a healthy image x
gets a synthetic anomaly of severity a in [0, 1], and the network, told the timestep t of that
severity, gives the healthy image back,

    L = mean (f(x_a, t(a)) - x)^2,   t(a) = argmin_t |a_t - a|,

where a_t rises from 0 to 1 as sqrt(alpha_bar) of a linear schedule read backwards. At test every
one of a few timesteps is asked. `ensemble` (the second version) averages the residuals of all of
them to the image itself; `multi` steps from the most severe to the least by cold diffusion,

    x_s = x_t - D(x_0, t) + D(x_0, s) = (a_s / a_t) x_t + (1 - a_s / a_t) x_0,   D(x_0, t) =
    (1 - a_t) x_0 + a_t x_T,   x_T as x_t and x_0 imply it,

and averages the residuals on the way.

Differs from the paper: severity is the largest change of a pixel, as the code measures it for its
intensity anomalies but not for its textures; t rises with the severity in training and at test (the
code counts it the other way round in training, which the ensemble does not see); whole slices in
place of windows of 128 pixels; a UNet of MONAI.
"""

import numpy as np
import torch
from torch import Tensor, nn

from brainuad.diffusion.schedule import linear_alpha_bar
from brainuad.methods.base import AnomalyDetector, OptimizerFactory, Residual, SchedulerFactory
from brainuad.methods.parts.residuals import bind
from brainuad.synthetic.lesions.contract import Corruption
from brainuad.types import Batch, Detection

WAYS = ("ensemble", "multi")


class DISYRE(AnomalyDetector):
    """Cold diffusion over synthetic anomalies.

    Args:
        network: from images `(B, C, *S)` and timesteps `(B,)` to healthy images `(B, C, *S)`.
        corruption: paints synthetic anomalies into healthy images.
        residual: from image, restoration and brain mask to the anomaly map.
        optimizer: factory; the paper's is AdamW with 1e-4, betas 0.95 and 0.999, decay 1e-6.
        scheduler: factory or None; the paper's is a cosine after 500 steps of warm-up.
        num_timesteps: T; 100 in the code, with betas from 0.001 to 0.2.
        sampling_steps: timesteps asked at test, evenly spread, the most severe first; 5 in the
            code.
        way: `ensemble` or `multi`, see the module.
    """

    severities: Tensor

    def __init__(
        self,
        network: nn.Module,
        corruption: Corruption,
        residual: Residual,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        num_timesteps: int = 100,
        sampling_steps: int = 5,
        way: str = "ensemble",
    ) -> None:
        super().__init__(optimizer, scheduler)
        self.residual = bind(residual)
        if way not in WAYS:
            raise ValueError(f"way is '{way}'; use one of {', '.join(WAYS)}")
        if not 1 <= sampling_steps <= num_timesteps:
            raise ValueError(f"sampling_steps is {sampling_steps}; use 1 to {num_timesteps}")
        self.network = network
        self.corruption = corruption
        self.way = way
        severities = linear_alpha_bar(num_timesteps).sqrt().flip(0)
        self.register_buffer("severities", severities, persistent=False)
        steps = np.arange(num_timesteps, 0, -num_timesteps / sampling_steps).round().astype(int)
        self.timesteps = (steps - 1).tolist()

    def timestep(self, severity: Tensor) -> Tensor:
        """The timestep whose severity is nearest: `(B,)` in [0, 1] to `(B,)` whole numbers."""
        return (self.severities - severity[:, None]).abs().argmin(1)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The objective in the module's docstring."""
        painted = self.corruption(batch.image, batch.brain_mask, self.generator())
        change = (painted.image - batch.image).abs().flatten(1).amax(1)
        restored = self.network(painted.image, self.timestep(change))
        return {"loss": (restored - batch.image).square().mean()}

    def score(self, image: Tensor, brain_mask: Tensor) -> Detection:
        """The mean residual over the timesteps, and the (last, in `multi`) restoration."""
        x_t, anomaly_map, restored = image, torch.zeros(()), torch.zeros(())
        for step, t in enumerate(self.timesteps):
            x_0 = self.network(x_t, torch.full((len(image),), t, device=image.device))
            anomaly_map = anomaly_map + self.residual(x_t, x_0, brain_mask)
            if self.way == "ensemble":
                restored = restored + x_0 / len(self.timesteps)
                continue
            restored = x_0
            if step + 1 < len(self.timesteps):
                kept = self.severities[self.timesteps[step + 1]] / self.severities[t]
                x_t = (kept * x_t + (1 - kept) * x_0).clamp(0, 1)
        return Detection(anomaly_map / len(self.timesteps), restored)

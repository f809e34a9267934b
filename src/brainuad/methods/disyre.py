"""DISYRE: restores synthetic anomalies of any severity, and scores its corrections.

Naval Marimont et al., "DISYRE: Diffusion-Inspired SYnthetic REstoration for Unsupervised Anomaly
Detection", ISBI 2024 (arXiv 2311.15453), and its second version, "Ensembled Cold-Diffusion
Restorations for Unsupervised Anomaly Detection", MICCAI 2024 (arXiv 2407.06635); released code
snavalm/disyre. As in cold diffusion, noise is replaced by another corruption: a healthy image x
gets a synthetic anomaly of severity a in [0, 1], and the network, with the timestep t of that
severity as input, returns the healthy image,

    L = mean (f(x_a, t(a)) - x)^2,   t(a) = argmin_t |a_t - a|,

where a_t are the sqrt(alpha_bar) of a linear schedule, and a is known to the corruption (of `dag`,
the larger of its mixing factor and its largest step of intensity) or the largest change of a pixel.
At test a few timesteps are evaluated. `ensemble` (the second version) averages the residuals of all
of them to the image itself; `multi` steps from the most severe to the least by cold diffusion,

    x_s = x_t - D(x_0, t) + D(x_0, s) = (a_s / a_t) x_t + (1 - a_s / a_t) x_0,   D(x_0, t) =
    (1 - a_t) x_0 + a_t x_T,   x_T as x_t and x_0 imply it,

and averages the residuals on the way.

The released code uses a_t in two ways, which looks like a mistake: training finds t in falling a_t
(diffusion/scheduler.py:317), and the steps of `multi` use rising a_t (:275-276). This changes the
ensemble too: t = 99, 79, 59, 39 and 19 were trained as severities 0.0045, 0.033, 0.152, 0.438 and
0.816. `severities="released"` does the same; with `severities="rising"` both rise, and these
timesteps mean 0.9995, 0.799, 0.419, 0.142 and 0.030.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from brainuad.diffusion.schedule import linear_alpha_bar
from brainuad.methods.base import AnomalyDetector, OptimizerFactory, SchedulerFactory, Traits
from brainuad.methods.parts.lesion_weights import LesionWeights, sample_weights
from brainuad.methods.parts.residuals import Residual, bind
from brainuad.methods.parts.windows import in_windows, random_crops
from brainuad.synthetic.lesions.contract import Corruption, severity_of
from brainuad.synthetic.lesions.mixture import kinds_of
from brainuad.types import Batch, Detection

WAYS = ("ensemble", "multi")
SEVERITIES = ("rising", "released")


class DISYRE(AnomalyDetector):
    """Cold diffusion over synthetic anomalies.

    Args:
        network: from images `(B, C, *S)` and timesteps `(B,)` to healthy images `(B, C, *S)`.
        corruption: paints synthetic anomalies into healthy images.
        residual: from image, restoration and brain mask to the anomaly map.
        optimizer: factory; the paper's is AdamW with 1e-4, betas 0.95 and 0.999, decay 1e-6.
        scheduler: factory or None; the paper's is a cosine after 500 steps of warm-up.
        num_timesteps: T; 100 in the code, with betas from 0.001 to 0.2.
        sampling_steps: number of timesteps at test, evenly spread, the last first; 5 in the code's
            trainer, 4 (99, 74, 49, 24) in the notebook of its figures.
        way: `ensemble` or `multi`, see the module.
        severities: `rising` or `released`, see the module.
        window: side in pixels of the random crops that are trained on and of the windows that are
            scored; 128 in the code. None for whole images.
        stride: pixels from a window to the next; 32 in the code.
        lesion_weights: weighs samples by the use of their lesions (ours); None for equal weights.

    Attributes:
        severities: a_t of the steps of `multi`, `(T,)`, rising.
        trained_severities: a_t by which training finds t, `(T,)`; falling where `released`.

    Raises:
        ValueError: an unknown way or order of severities, or an impossible number of steps.
    """

    traits = Traits(detection_options=("residual", "sampling_steps", "way", "stride"))
    severities: Tensor
    trained_severities: Tensor

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
        severities: str = "rising",
        window: int | None = None,
        stride: int = 32,
        lesion_weights: LesionWeights | None = None,
    ) -> None:
        super().__init__(optimizer, scheduler)
        self.residual = bind(residual)
        if way not in WAYS:
            raise ValueError(f"way is '{way}'; use one of {', '.join(WAYS)}")
        if severities not in SEVERITIES:
            raise ValueError(f"severities is '{severities}'; use one of {', '.join(SEVERITIES)}")
        if not 1 <= sampling_steps <= num_timesteps:
            raise ValueError(f"sampling_steps is {sampling_steps}; use 1 to {num_timesteps}")
        self.network = network
        self.corruption = corruption
        self.way = way
        self.window = window
        self.stride = stride
        self.lesion_weights = lesion_weights
        falling = linear_alpha_bar(num_timesteps).sqrt()
        trained = falling if severities == "released" else falling.flip(0)
        self.register_buffer("severities", falling.flip(0), persistent=False)
        self.register_buffer("trained_severities", trained, persistent=False)
        steps = np.arange(num_timesteps, 0, -num_timesteps / sampling_steps).round().astype(int)
        self.timesteps = (steps - 1).tolist()

    def timestep(self, severity: Tensor) -> Tensor:
        """Return the timesteps `(B,)` trained for the nearest severities `(B,)` in [0, 1]."""
        return (self.trained_severities - severity[:, None]).abs().argmin(1)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the objective of the module's docstring."""
        generator = self.generator()
        if self.window is not None:
            batch = random_crops(batch, self.window, generator)
        painted = self.corruption(batch.image, batch.brain_mask, generator)
        timestep = self.timestep(severity_of(painted, batch.image))
        restored = self.network(painted.image, timestep)
        weight = sample_weights(self.lesion_weights, painted, *batch)
        return {"loss": (weight * (restored - batch.image).square()).mean()}

    def score(self, image: Tensor, brain_mask: Tensor) -> Detection:
        """Return the mean residual over the timesteps, and the restoration (in `multi` the last
        one).
        """
        if self.window is None:
            return Detection(*self._score(image, brain_mask))
        return Detection(*in_windows(self._score, image, brain_mask, self.window, self.stride))

    def calibrate(self, train: Iterable[Batch], held_out: Iterable[Batch]) -> Mapping[str, Any]:
        """Return the use of each kind of lesion, where lesions have weights."""
        if self.lesion_weights is None:
            return {}
        return self.lesion_weights.checks(kinds_of(self.corruption))

    def _score(self, image: Tensor, brain_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Score whole images."""
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
        return anomaly_map / len(self.timesteps), restored

"""HypAD's score for methods with random draws: an anomaly is where the method is certain and wrong.

Flaborea et al., "Are we certain it's anomalous?", CVPR Workshops 2023 (arXiv 2211.09224); code
aleflabo/HypAD, for time series. A learned last layer maps input and reconstruction into the
Poincare ball; the score is their hyperbolic distance times the norm of the reconstruction, because
a reconstruction near the rim is certain.

Here no layer is learned. The draws of a pixel have a mean m and a standard deviation s. Normal
distributions with the Fisher metric are a hyperbolic plane whose rim is s = 0. The distance of the
image x to the reconstruction is that of N(x, s^2) to N(m, s^2). The certainty is the norm in the
ball with the centre N(m, u^2), the least certain reconstruction:

    d = arcosh(1 + (x - m)^2 / (4 s^2)) = 2 arsinh(|x - m| / (sqrt(8) s)),
    certainty = tanh(log(u / s) / 2) = (u - s) / (u + s),   score = certainty d.

So brightness alone makes nothing certain.
"""

import math

import torch
from torch import Tensor

from brainuad.methods.parts.residuals import Sign, needs, signed


@needs("std")
def hyperbolic(
    image: Tensor,
    reconstruction: Tensor,
    brain_mask: Tensor,
    std: Tensor,
    sign: Sign = "abs",
    average: int = 1,
    min_std: float = 0.02,
    unsure_std: float = 0.2,
) -> Tensor:
    """Certainty times hyperbolic distance, mean over channels; see the module.

    Args:
        image: `(B, C, *S)`.
        reconstruction: m, mean of the draws, `(B, C, *S)`.
        brain_mask: `(B, 1, *S)` bool.
        std: s, standard deviation of the draws, `(B, C, *S)`.
        sign: as in `signed`.
        average: as in `signed`.
        min_std: floor of s, in intensities. 0.02 is about the noise of a pixel.
        unsure_std: u; where s is as large, the score is 0.
    """
    spread = std.clamp_min(min_std)
    certain = certainty(spread, unsure_std)
    # A sign for each channel.
    signs = [sign] * image.shape[1] if isinstance(sign, str) else list(sign)
    total = torch.zeros_like(image[:, :1])
    for channel, own in enumerate(signs):
        part = slice(channel, channel + 1)
        x, m = (values[:, part] / spread[:, part] for values in (image, reconstruction))
        far = 2 * torch.asinh(signed(x, m, brain_mask, own, average) / math.sqrt(8))
        total = total + certain[:, part] * far
    return total / image.shape[1]


def certainty(std: Tensor, unsure_std: float) -> Tensor:
    """Return the norm of a reconstruction in the ball: near 1 is certain, 0 is unsure.

    Args:
        std: standard deviation of the draws.
        unsure_std: standard deviation at the centre of the ball, and beyond it.
    """
    return ((unsure_std - std) / (unsure_std + std)).clamp_min(0)

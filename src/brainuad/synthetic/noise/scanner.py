"""Blur and noise of a scanner, which come over tissue and lesions alike."""

from dataclasses import dataclass

import torch
from torch import Tensor

from brainuad.synthetic.grids import blurred, drawn
from brainuad.synthetic.lesions.contract import uniform


@dataclass(frozen=True)
class ScannerNoise:
    """Blur, then noise of a random grain, drawn for each sample.

    Painted after a scan was taken, a lesion differs from the tissue around it in sharpness and
    noise, which no real lesion does; a network finds that before it finds lesions.

    Args:
        blur: standard deviation in pixels, uniform between the two.
        noise: standard deviation of intensities in [0, 1], uniform between the two.
        grain: standard deviation in pixels by which the noise is smoothed, uniform between the two.
    """

    blur: tuple[float, float] = (0.0, 1.0)
    noise: tuple[float, float] = (0.0, 0.04)
    grain: tuple[float, float] = (0.0, 0.8)

    def __call__(
        self, image: Tensor, brain_mask: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return `(B, C, *S)` images of that shape in [0, 1], 0 outside the brain.

            Args:
        image: image in [0, 1].
                brain_mask: `(B, 1, *S)` bool.
                generator: generator of the draws; None for the global one.
        """
        blur, grain = (
            uniform(*span, image, generator).flatten() for span in (self.blur, self.grain)
        )
        size = uniform(*self.noise, image, generator)
        noise = blurred(drawn(torch.randn, tuple(image.shape), image, generator).float(), grain)
        # Smoothing makes noise weaker.
        deviation = noise.flatten(1).std(1).reshape(size.shape).clamp_min(1e-6)
        # What is outside the brain darkens no rim.
        inside = blurred(brain_mask.float(), blur).clamp_min(1e-3)
        found = blurred(image.float(), blur) / inside + size * noise / deviation
        return torch.where(brain_mask, found, torch.zeros_like(found)).clamp(0, 1)

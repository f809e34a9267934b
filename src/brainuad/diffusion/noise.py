"""What a diffusion model adds: independent pixels, or simplex noise."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from brainuad.diffusion.simplex import draw_permutations, simplex_noise

Noise = Callable[[Sequence[int], Tensor, torch.Generator | None], Tensor]
"""(shape `(B, C, H, W)`, timesteps `(B,)`, generator or None for the global one) -> noise of that
shape on the timesteps' device. Drawn where the generator is, on that device without one."""


@dataclass(frozen=True)
class GaussianNoise:
    """Independent standard normal pixels, as in DDPM."""

    def __call__(
        self, shape: Sequence[int], t: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """See `Noise`."""
        device = t.device if generator is None else generator.device
        return torch.randn(*shape, generator=generator, device=device).to(t.device)


@dataclass(frozen=True)
class SimplexNoise:
    """Slices of simplex noise at the height of their timestep, see `brainuad.diffusion.simplex`.

    Half of a batch is drawn, the other half is its negative, which is as likely: on a CPU a slice
    of noise costs about as much as a small network's step.

    Args:
        period: of the first octave in pixels.
        octaves: their number.
        decay: of an octave's amplitude to the one before.
    """

    period: float = 64.0
    octaves: int = 6
    decay: float = 0.8

    def __call__(
        self, shape: Sequence[int], t: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """See `Noise`."""
        batch, channels, *size = shape
        drawn = (batch + 1) // 2
        device = t.device if generator is None else generator.device
        permutations = draw_permutations(drawn * channels, device, generator).to(t.device)
        height = t[:drawn].repeat_interleave(channels)
        noise = simplex_noise(permutations, size, height, self.period, self.octaves, self.decay)
        noise = noise.reshape(drawn, channels, *size)
        return torch.cat([noise, -noise[: batch - drawn]])

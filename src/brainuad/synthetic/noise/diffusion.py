"""Noise of a diffusion model: independent pixels, squares of pixels, or simplex noise."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from einops import repeat
from torch import Tensor

from brainuad.synthetic.grids import drawn
from brainuad.synthetic.noise.simplex import draw_permutations, simplex_noise, simplex_noise_2d

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
        return drawn(torch.randn, shape, t, generator)


@dataclass(frozen=True)
class CoarseNoise:
    """Standard normal values, the same in all of a square's pixels.

    Independent pixel noise is easy to recognise by its texture. Smooth noise, like a lesion, is
    recognised only by context (Kascenas et al., MIDL 2022).

    Args:
        sides: sides of the squares in pixels; each sample draws one. The squares are placed anew in
            each call.

    Raises:
        ValueError: no side, or one below 1.
    """

    sides: Sequence[int] = (1, 2, 4, 8)

    def __post_init__(self) -> None:
        if min(self.sides, default=0) < 1:
            raise ValueError(f"sides is {list(self.sides)}; use one or more of 1 and above")

    def __call__(
        self, shape: Sequence[int], t: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """See `Noise`."""
        count, channels, *size = shape
        device = t.device if generator is None else generator.device
        parts = []
        for side in self.sides:
            # One square more, for a grid that may begin anywhere in the first.
            grid = [-(-length // side) + 1 for length in size]
            coarse = torch.randn(count, channels, *grid, generator=generator, device=device)
            fine = repeat(coarse, "b c h w -> b c (h y) (w x)", y=side, x=side)
            for axis, length in enumerate(size, start=2):
                first = torch.randint(side, (1,), generator=generator, device=device)
                where = first + torch.arange(length, device=device)
                fine = fine.index_select(axis, where)
            parts.append(fine)
        chosen = torch.randint(len(parts), (count,), generator=generator, device=device)
        noise = torch.stack(parts)[chosen, torch.arange(count, device=device)]
        return noise.to(t.device)


@dataclass(frozen=True)
class SimplexNoise:
    """Slices of simplex noise at the height of their timestep, see
    `brainuad.synthetic.noise.simplex`.

    Half of a batch is drawn, the other half is its negative, which is as likely: on a CPU a slice
    of noise costs about as much as a small network's step.

    Args:
        period: period of the first octave in pixels.
        octaves: number of octaves.
        decay: ratio of an octave's amplitude to the one before.
    """

    period: float = 64.0
    octaves: int = 6
    decay: float = 0.8

    def __call__(
        self, shape: Sequence[int], t: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """See `Noise`."""
        batch, channels, *size = shape
        half = (batch + 1) // 2
        device = t.device if generator is None else generator.device
        permutations = draw_permutations(half * channels, device, generator).to(t.device)
        height = t[:half].repeat_interleave(channels)
        noise = simplex_noise(permutations, size, height, self.period, self.octaves, self.decay)
        noise = noise.reshape(half, channels, *size)
        return torch.cat([noise, -noise[: batch - half]])


@dataclass(frozen=True)
class SimplexNoise2D:
    """Simplex noise in two dimensions, as pDDPM's released code draws it.

    That code has one pattern for a whole batch, and every pattern is 0 in the upper left corner,
    where all octaves have a point of their lattice (`src/utils/generate_noise.py:44-52`,
    `:97-114`). Both look like oversights; `shared=False` is without them. The values are those of
    half precision, as there.

    Args:
        period: period of the first octave in pixels.
        octaves: number of octaves.
        decay: ratio of an octave's amplitude to the one before.
        shared: one pattern for the whole batch, from the corner, as released; False draws a pattern
            for each slice, from a place of its own.
    """

    period: float = 64.0
    octaves: int = 6
    decay: float = 0.8
    shared: bool = True

    def __call__(
        self, shape: Sequence[int], t: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """See `Noise`."""
        batch, channels, *size = shape
        count = channels if self.shared else batch * channels
        device = t.device if generator is None else generator.device
        permutations = draw_permutations(count, device, generator).to(t.device)
        first = None
        if not self.shared:
            # Another permutation has other gradients; some periods are places enough.
            draws = torch.rand(count, 2, generator=generator, device=device)
            first = 8 * self.period * draws.to(t.device)
        noise = simplex_noise_2d(permutations, size, first, self.period, self.octaves, self.decay)
        return noise.reshape(-1, channels, *size).expand(*shape).half().float()

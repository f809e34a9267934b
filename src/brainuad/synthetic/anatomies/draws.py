"""Random numbers of one scan: all from one generator, so that a seed decides every voxel."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from brainuad.synthetic.grids import between, blurred


@dataclass(frozen=True)
class Draws:
    """Draws of numbers and fields.

    Args:
        generator: generator of PyTorch, on the CPU.
        device: device of the fields.
    """

    generator: torch.Generator
    device: torch.device | str = "cpu"

    @classmethod
    def of(cls, *seeds: int, device: torch.device | str = "cpu") -> "Draws":
        """Draw by whole numbers from 0: a cohort's seed, an epoch, a scan."""
        state = 0
        for seed in seeds:
            # A linear congruence with 64 bits (Knuth), so that neighbours are far apart.
            state = ((state + int(seed) + 1) * 6364136223846793005 + 1442695040888963407) % 2**64
        return cls(torch.Generator().manual_seed(state >> 1), device)

    def uniform(self, low: float, high: float) -> float:
        """Return a number between the two."""
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def log_uniform(self, low: float, high: float) -> float:
        """Return a number between the two, its logarithm uniform."""
        return float(low * (high / low) ** self.uniform(0, 1))

    def triangular(self, low: float, middle: float, high: float) -> float:
        """Return a number between the first and the last, the middle most likely."""
        side = self.uniform(-1, 0) + self.uniform(0, 1)
        return middle + side * ((high - middle) if side > 0 else (middle - low))

    def normal(self, mean: float = 0.0, deviation: float = 1.0) -> float:
        """Return a Gaussian number."""
        return mean + deviation * float(torch.randn((), generator=self.generator))

    def chance(self, probability: float) -> bool:
        """Return whether something of this probability happens."""
        return self.uniform(0, 1) < probability

    def index(self, weights: Sequence[float] | Tensor) -> int:
        """Return a place in a list, drawn by its weight."""
        cumulative = torch.as_tensor(weights, dtype=torch.float64).flatten().cumsum(0)
        wanted = self.uniform(0, 1) * float(cumulative[-1])
        found = int(torch.searchsorted(cumulative, wanted, right=True))
        return min(found, len(cumulative) - 1)

    def number(self, low: int, high: int) -> int:
        """Return a whole number from the first to the second."""
        return min(high, int(self.uniform(low, high + 1)))

    def noise(self, size: Sequence[int]) -> Tensor:
        """Return independent Gaussian numbers, `size`."""
        return torch.randn(tuple(size), generator=self.generator).to(self.device)

    def field(
        self, size: Sequence[int], spacing_mm: float, scale_mm: float, channels: int = 1
    ) -> Tensor:
        """Return smooth Gaussian fields of about zero mean and unit variance.

        Args:
            size: `(D, H, W)`.
            spacing_mm: edge length of a voxel.
            scale_mm: standard deviation of the Gaussian that smooths the noise.
            channels: number of independent fields.

        Returns:
            `(channels, D, H, W)` float32.
        """
        # A field that is smooth on 20 mm is drawn on a coarse grid and interpolated.
        step = max(scale_mm / 1.5, spacing_mm)
        coarse = [int(n * spacing_mm / step) + 3 for n in size]
        nodes = self.noise((channels, 1, *coarse))
        sigma = torch.full((channels,), scale_mm / step, device=self.device)
        nodes = blurred(nodes, sigma)
        # By the kernel, not by this field's own variance: a field of few nodes may be flat.
        # Linear interpolation takes some variance too.
        width = 2 * torch.pi**0.5 * sigma.clamp_min(0.5)
        return 1.1 * between(nodes * width[:, None, None, None, None] ** 1.5, size)[:, 0]


PLANES = ((0, 1), (0, 2), (1, 2))
"""Pairs of axes in which something is turned."""


def turned(degrees: float, plane: tuple[int, int]) -> Tensor:
    """Return the rotation in the plane of two axes, `(3, 3)`."""
    angle = torch.deg2rad(torch.tensor(degrees))
    first, second = plane
    turn = torch.eye(3)
    turn[first, first] = turn[second, second] = angle.cos()
    turn[first, second], turn[second, first] = -angle.sin(), angle.sin()
    return turn

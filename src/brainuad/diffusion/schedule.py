"""Noise schedules: the share of an image or a latent that is left after `t` steps of noise.

Linear: Ho et al., "Denoising Diffusion Probabilistic Models", NeurIPS 2020 (arXiv 2006.11239),
section 4. Cosine: Nichol and Dhariwal, "Improved Denoising Diffusion Probabilistic Models", ICML
2021 (arXiv 2102.09672), equation 17, as MAD-AD uses it with ten steps in all.
"""

import math
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor


def cosine_alpha_bar(num_timesteps: int = 10, offset: float = 0.008, cap: float = 0.999) -> Tensor:
    """Return the cumulative signal share of the squared cosine schedule.

        f(u) = cos^2(pi / 2 (u + s) / (1 + s)),   beta_t = min(1 - f((t + 1) / T) / f(t / T), cap)
        alpha_bar_t = product of (1 - beta_i) over i <= t

    Args:
        num_timesteps: T.
        offset: s.
        cap: largest beta, so that the last step keeps a trace of the signal.

    Returns:
        `(T,)` float32, falling, in (0, 1).

    Raises:
        ValueError: no step.
    """
    if num_timesteps < 1:
        raise ValueError(f"num_timesteps is {num_timesteps}; use 1 or more")
    share = [
        math.cos(math.pi / 2 * (t / num_timesteps + offset) / (1 + offset)) ** 2
        for t in range(num_timesteps + 1)
    ]
    alphas = [1 - min(1 - after / before, cap) for before, after in pairwise(share)]
    return torch.tensor(alphas, dtype=torch.float64).cumprod(0).float()


def linear_alpha_bar(num_timesteps: int = 1000, first: float = 1e-4, last: float = 0.02) -> Tensor:
    """Return the cumulative signal share if the noise per step, beta, rises linearly.

    Args:
        num_timesteps: T; the betas are scaled by 1000 / T, so that the remaining signal is the
            same.
        first: beta of the first of 1000 steps.
        last: beta of the last of them.

    Returns:
        `(T,)` float32, falling, in (0, 1).

    Raises:
        ValueError: too few steps, so that a beta is 1 or more.
    """
    scale = 1000 / max(num_timesteps, 1)
    if num_timesteps < 1 or scale * last >= 1:
        raise ValueError(f"num_timesteps is {num_timesteps}; use more than {1000 * last:g}")
    betas = torch.linspace(scale * first, scale * last, num_timesteps, dtype=torch.float64)
    return (1 - betas).cumprod(0).float()


def sampling_timesteps(num_timesteps: int, sampling_steps: int) -> list[int]:
    """Return the timesteps of a shorter sampler, from T - 1 down to 0, evenly spread.

    All timesteps if `sampling_steps` is T, as published; only the last, 0, for one step.

    Raises:
        ValueError: fewer than one step or more than T.
    """
    if not 1 <= sampling_steps <= num_timesteps:
        raise ValueError(f"sampling_steps is {sampling_steps}; use 1 to {num_timesteps}")
    spread = np.linspace(0, num_timesteps - 1, sampling_steps).round().astype(int)
    return spread[::-1].tolist()

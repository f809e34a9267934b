"""Masked forward process and masked DDIM.

Symbols as in MAD-AD (arXiv 2502.16943) and DDIM (Song et al., ICLR 2021, arXiv 2010.02502).
Latents are `(B, C, h, w)`, masks `(B, 1, h, w)` with 1 = clean.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Network = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(x_t `(B, C, h, w)`, t `(B,)`) -> clean latent `(B, C, h, w)`, mask `(B, 1, h, w)`."""


@dataclass(frozen=True)
class Sampling:
    """Settings of `restore` at detection.

    Args:
        steps: number of steps, 1 to T; None for T.
        eta: 0 makes the sampler deterministic, 1 is DDPM.
        mask_threshold: cells whose predicted mask is this or more keep their value; above 1 none.
        seed: seed of the noise.

    Raises:
        ValueError: `eta` is out of range.
    """

    steps: int | None = None
    eta: float = 0.5
    mask_threshold: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta is {self.eta}; use 0 to 1")


def add_noise(x_0: Tensor, mask: Tensor, alpha_bar_t: Tensor, eps: Tensor) -> Tensor:
    """Return x_t = m x_0 + (1 - m) (sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps).

    Args:
        x_0: clean latents.
        mask: 1 = clean.
        alpha_bar_t: `(B,)`, each sample's own timestep.
        eps: standard normal, of the shape of `x_0`.
    """
    alpha_bar_t = alpha_bar_t.view(-1, 1, 1, 1)
    return mask * x_0 + (1 - mask) * (alpha_bar_t.sqrt() * x_0 + (1 - alpha_bar_t).sqrt() * eps)


def clean_image(x_t: Tensor, eps: Tensor, alpha_bar_t: Tensor) -> Tensor:
    """Return x_0 = (x_t - sqrt(1 - alpha_bar_t) eps) / sqrt(alpha_bar_t), DDPM, equation 15.

    Args:
        x_t: noised images.
        eps: the noise in them, as a network predicts it.
        alpha_bar_t: `(B,)`, each sample's own timestep.
    """
    alpha_bar_t = alpha_bar_t.view(-1, 1, 1, 1)
    return (x_t - (1 - alpha_bar_t).sqrt() * eps) / alpha_bar_t.sqrt()


def ddim_step(
    x_t: Tensor, x_0: Tensor, alpha_bar_t: Tensor, alpha_bar_s: Tensor, eta: float, eps: Tensor
) -> Tensor:
    """Take one step from t to an earlier s, equation 12 of DDIM with the noise that x_0 implies.

        e = (x_t - sqrt(alpha_bar_t) x_0) / sqrt(1 - alpha_bar_t)
        sigma = eta sqrt((1 - alpha_bar_s) / (1 - alpha_bar_t)) sqrt(1 - alpha_bar_t / alpha_bar_s)
        x_s = sqrt(alpha_bar_s) x_0 + sqrt(1 - alpha_bar_s - sigma^2) e + sigma eps

    Args:
        x_t: start of the step.
        x_0: the clean latent that the network predicts.
        alpha_bar_t: scalar of t.
        alpha_bar_s: scalar of s; 1 behind the last step, which then returns `x_0`.
        eta: 0 is deterministic, 1 is DDPM.
        eps: standard normal, broadcast over the batch.
    """
    e = (x_t - alpha_bar_t.sqrt() * x_0) / (1 - alpha_bar_t).sqrt()
    ratio = (1 - alpha_bar_s) / (1 - alpha_bar_t)
    sigma = eta * ratio.sqrt() * (1 - alpha_bar_t / alpha_bar_s).sqrt()
    return alpha_bar_s.sqrt() * x_0 + (1 - alpha_bar_s - sigma**2).sqrt() * e + sigma * eps


def restore(
    network: Network,
    z: Tensor,
    alpha_bar: Tensor,
    timesteps: Sequence[int],
    eps: Tensor,
    eta: float = 0.5,
    mask_threshold: float = 0.5,
) -> Tensor:
    """Move the cells that look noised towards the healthy latent, step by step.

    No noise is added before. At each timestep the network predicts the clean cells, which keep
    their value, bit for bit; the others take the DDIM step.

    Args:
        network: predicts the clean latent and the mask.
        z: latents of the images, `(B, C, h, w)`.
        alpha_bar: `(T,)`.
        timesteps: falling, the last one 0.
        eps: `(len(timesteps), C, h, w)` standard normal, shared by the batch, so that a slice
            does not depend on its neighbours.
        eta: stochasticity of the DDIM step: 0 is deterministic.
        mask_threshold: cells with a predicted mask of this or more are clean; above 1 none is.

    Returns:
        `(B, C, h, w)`.
    """
    one = torch.ones((), device=alpha_bar.device)
    for step, t in enumerate(timesteps):
        alpha_bar_s = alpha_bar[timesteps[step + 1]] if step + 1 < len(timesteps) else one
        x_0, mask = network(z, torch.full((len(z),), t, device=z.device))
        moved = ddim_step(z, x_0.float(), alpha_bar[t], alpha_bar_s, eta, eps[step])
        z = torch.where(mask >= mask_threshold, z, moved)
    return z


def noisiness(network: Network, z: Tensor, timesteps: Sequence[int]) -> Tensor:
    """Return 1 - m, the predicted mask of the untouched `z`, averaged over the timesteps.

    Returns:
        `(B, 1, h, w)`, in [0, 1].
    """
    found = [
        1 - network(z, torch.full((z.shape[0],), t, device=z.device))[1].float() for t in timesteps
    ]
    return torch.stack(found).mean(0)

"""GECO: a reconstruction weight that adapts to a target error.

Rezende and Viola, "Taming VAEs", 2018 (arXiv 1810.00597), algorithm 1, in the form that released
codes use: the moving average in the exponent, with another speed on one side of the goal.
"""

import torch
from torch import Tensor, nn


class GECO(nn.Module):
    """theta <- theta exp(step (average - goal)), `speedup` times faster above the goal.

    theta and the average are buffers, so that a resumed training is the same. The defaults are
    those of StRegA's code (train.py:77-81, helpers.py:38-48, misc/ssae.py:82), where GECO is
    switched off (misc/ssae.py:84).

    Args:
        goal: target mean absolute error per pixel.
        step: step of the exponent.
        decay: decay of the moving average of the error.
        speedup: factor on the step while the average is above the goal.
        least: theta never falls below it.
        most: theta never rises above it.
        start: start of the moving average.
    """

    theta: Tensor
    average: Tensor

    def __init__(
        self,
        goal: float = 0.1,
        step: float = 1e-4,
        decay: float = 0.9,
        speedup: float = 2.0,
        least: float = 1e-10,
        most: float = 1e4,
        start: float = 1.0,
    ) -> None:
        super().__init__()
        self.goal = goal
        self.step = step
        self.decay = decay
        self.speedup = speedup
        self.least = least
        self.most = most
        self.register_buffer("theta", torch.ones(()))
        self.register_buffer("average", torch.full((), start))

    @torch.no_grad()
    def update(self, error: Tensor) -> None:
        """Update the weight by the error of a step, a scalar."""
        self.average.copy_(self.decay * self.average + (1 - self.decay) * error)
        gap = self.average - self.goal
        rate = self.step * torch.where(gap > 0, self.speedup, 1.0)
        self.theta.copy_((self.theta * torch.exp(rate * gap)).clamp(self.least, self.most))

"""GECO: a reconstruction weight that adapts itself to a wished-for error.

Rezende and Viola, "Taming VAEs", 2018 (arXiv 1810.00597), algorithm 1, in the form that released
codes use: the moving average in the exponent, with another speed on one side of the goal.
"""

import torch
from torch import Tensor, nn


class GECO(nn.Module):
    """theta <- theta exp(step (average - goal)), `speedup` times faster above the goal.

    theta and the average are buffers, so that a resumed training goes on as it was.

    Args:
        goal: mean absolute error a pixel to reach (StRegA's code: 0.1).
        step: of the exponent (1e-4).
        decay: of the moving average of the error (0.9).
        speedup: factor on the step while the average is above the goal. StRegA's code is faster
            there; by how much is not published, 10 is what other released codes use.
        least: theta never falls below it.
        most: theta never rises above it.
    """

    theta: Tensor
    average: Tensor

    def __init__(
        self,
        goal: float = 0.1,
        step: float = 1e-4,
        decay: float = 0.9,
        speedup: float = 10.0,
        least: float = 1e-10,
        most: float = 1e10,
    ) -> None:
        super().__init__()
        self.goal = goal
        self.step = step
        self.decay = decay
        self.speedup = speedup
        self.least = least
        self.most = most
        self.register_buffer("theta", torch.ones(()))
        self.register_buffer("average", torch.full((), torch.nan))

    @torch.no_grad()
    def update(self, error: Tensor) -> None:
        """Takes in the error of a step, a scalar; the first one starts the average."""
        before = torch.where(self.average.isnan(), error, self.average)
        self.average.copy_(self.decay * before + (1 - self.decay) * error)
        gap = self.average - self.goal
        rate = self.step * torch.where(gap > 0, self.speedup, 1.0)
        self.theta.copy_((self.theta * torch.exp(rate * gap)).clamp(self.least, self.most))

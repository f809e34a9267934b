"""Learning-rate schedules that torch lacks."""

import math
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warmup_cosine(
    optimizer: Optimizer,
    epochs: int,
    warmup_epochs: int = 10,
    stretch: float = 1.2,
    from_zero: bool = False,
) -> LambdaLR:
    """Return a schedule: a linear rise, then half a cosine that ends above zero.

    Epoch e has the factor (e + 1) / (w + 1) while e < w, then cos^2(pi / 2 (e - w) / (s n - w)).
    MAD-AD's code has e / w in its rise (`train-MAD-AD.py:214-218`, stepped once an epoch), so its
    first epoch has a rate of 0; `from_zero` does the same.

    Args:
        optimizer: whose rate is scaled.
        epochs: n.
        warmup_epochs: w.
        stretch: s; the cosine would reach zero after this multiple of the epochs.
        from_zero: whether to rise by e / w, from a first epoch with rate 0.
    """
    ahead = 0 if from_zero else 1

    def factor(epoch: int) -> float:
        if epoch < warmup_epochs:
            return (epoch + ahead) / (warmup_epochs + ahead)
        share = (epoch - warmup_epochs) / max(stretch * epochs - warmup_epochs, 1)
        return math.cos(math.pi / 2 * min(share, 1)) ** 2

    return LambdaLR(optimizer, factor)


def warmup_cosine_steps(
    optimizer: Optimizer, steps: int, warmup_steps: int = 500
) -> dict[str, Any]:
    """Return a schedule per step: a linear rise from zero, then half a cosine to zero.

    Step i has the factor i / w while i < w, then (1 + cos(pi (i - w) / (n - w))) / 2: the schedule
    `cosine` of diffusers, as DISYRE uses it.

    Args:
        optimizer: whose rate is scaled.
        steps: n.
        warmup_steps: w, number of steps of the rise.

    Returns:
        The schedule in Lightning's format for one that changes after every step.
    """

    def factor(step: int) -> float:
        if step < warmup_steps:
            return step / warmup_steps
        share = (step - warmup_steps) / max(steps - warmup_steps, 1)
        return 0.5 * (1 + math.cos(math.pi * min(share, 1)))

    return {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}

"""Learning-rate schedules that torch does not have in one piece."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warmup_cosine(
    optimizer: Optimizer, epochs: int, warmup_epochs: int = 10, stretch: float = 1.2
) -> LambdaLR:
    """A linear rise, then half a cosine that ends before it reaches zero, as in MAD-AD's code.

    Epoch e has the factor (e + 1) / (w + 1) while e < w, then cos^2(pi / 2 (e - w) / (s n - w)).

    Args:
        optimizer: whose rate is scaled.
        epochs: n.
        warmup_epochs: w.
        stretch: s; the cosine would be zero after so many times the epochs.
    """

    def factor(epoch: int) -> float:
        if epoch < warmup_epochs:
            return (epoch + 1) / (warmup_epochs + 1)
        share = (epoch - warmup_epochs) / max(stretch * epochs - warmup_epochs, 1)
        return math.cos(math.pi / 2 * min(share, 1)) ** 2

    return LambdaLR(optimizer, factor)

"""Learning-rate schedules that torch does not have in one piece."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warmup_cosine(
    optimizer: Optimizer,
    epochs: int,
    warmup_epochs: int = 10,
    stretch: float = 1.2,
    from_zero: bool = False,
) -> LambdaLR:
    """A linear rise, then half a cosine that ends before it reaches zero.

    Epoch e has the factor (e + 1) / (w + 1) while e < w, then cos^2(pi / 2 (e - w) / (s n - w)).
    MAD-AD's code has e / w in its rise (`train-MAD-AD.py:214-218`, stepped once an epoch), so that
    its first epoch learns nothing; `from_zero` does the same.

    Args:
        optimizer: whose rate is scaled.
        epochs: n.
        warmup_epochs: w.
        stretch: s; the cosine would be zero after so many times the epochs.
        from_zero: rise by e / w, from a first epoch of rate 0.
    """
    ahead = 0 if from_zero else 1

    def factor(epoch: int) -> float:
        if epoch < warmup_epochs:
            return (epoch + ahead) / (warmup_epochs + ahead)
        share = (epoch - warmup_epochs) / max(stretch * epochs - warmup_epochs, 1)
        return math.cos(math.pi / 2 * min(share, 1)) ** 2

    return LambdaLR(optimizer, factor)

"""Mean and covariance of latent vectors."""

import torch
from torch import Tensor


class Moments:
    """Mean and covariance of vectors that come in batches, in double precision.

    Args:
        channels: channels of a vector.

    Attributes:
        count: vectors so far.
    """

    def __init__(self, channels: int) -> None:
        self.count = 0
        self._sum = torch.zeros(channels, dtype=torch.float64)
        self._products = torch.zeros(channels, channels, dtype=torch.float64)

    def add(self, values: Tensor, where: Tensor) -> None:
        """Add the vectors of `values (B, C, h, w)` at the places `where (B, h, w)`."""
        vectors = values.movedim(1, -1)[where].cpu().double()
        self.count += len(vectors)
        self._sum += vectors.sum(0)
        self._products += vectors.T @ vectors

    def mean(self) -> Tensor:
        """`(C,)`, float32."""
        return (self._sum / self.count).float()

    def factor(self) -> Tensor:
        """A symmetric `(C, C)` whose square is the covariance, float32; some of it may be 0."""
        mean = self._sum / self.count
        covariance = self._products / self.count - torch.outer(mean, mean)
        values, vectors = torch.linalg.eigh(covariance)
        return (vectors * values.clamp_min(0).sqrt() @ vectors.T).float()


def shaped(eps: Tensor, mean: Tensor, factor: Tensor) -> Tensor:
    """Give standard normal noise `(B, C, h, w)` a mean `(C,)` and the covariance `factor ** 2`."""
    # No matrix product, because autocast would round it.
    return mean[:, None, None] + (factor[:, :, None, None] * eps[:, None]).sum(2)

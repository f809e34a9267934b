"""Thresholds that need no lesion label."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from skimage.filters import threshold_otsu


@dataclass(frozen=True)
class HealthyThreshold:
    """The smallest threshold at which healthy brains stay (almost) silent (PROTOCOL section 2).

    Args:
        alpha: largest share of the healthy validation subjects' brain voxels above it.
    """

    alpha: float = 0.01

    def __post_init__(self) -> None:
        if not 0 <= self.alpha < 1:
            raise ValueError(f"alpha is {self.alpha}; expected a share in [0, 1)")

    def fit(self, scores: Iterable[np.ndarray]) -> float:
        """Fits on `(N,)` scores of the brain voxels of each healthy validation subject, pooled.

        Exact, ties included: at most `alpha` of the voxels are above the result, and more than
        that are above every smaller score. Holds all brain voxels at once, 4 bytes each.

        Raises:
            ValueError: no voxel.
        """
        pooled = np.concatenate([np.asarray(score, np.float32) for score in scores])
        if pooled.size == 0:
            raise ValueError("no healthy brain voxel to fit the threshold on")
        allowed = int(np.floor(self.alpha * pooled.size))
        return float(np.partition(pooled, pooled.size - allowed - 1)[pooled.size - allowed - 1])


def otsu(score: np.ndarray) -> float:
    """Otsu's threshold of one volume's brain voxels `(N,)`; the value itself when constant."""
    low, high = score.min(), score.max()
    return float(threshold_otsu(score)) if high > low else float(high)

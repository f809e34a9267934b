"""A visit: one scan of a person with what a model marked in it."""

from dataclasses import dataclass

import numpy as np

from brainuad.types import Volume


@dataclass(frozen=True)
class Visit:
    """A scan with what a model marked in it, all on the scan's own grid.

    Attributes:
        image: the scan as it came.
        brain: `(D, H, W)` bool, the brain.
        score: `(D, H, W)`, the post-processed anomaly map.
        mask: `(D, H, W)` bool, the marked voxels.
        threshold: threshold of the mask; scores are compared in units of it.
    """

    image: Volume
    brain: np.ndarray
    score: np.ndarray
    mask: np.ndarray
    threshold: float

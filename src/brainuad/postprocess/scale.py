"""Steps on single values of the map."""

from dataclasses import dataclass

import numpy as np

from brainuad.postprocess.smooth import Spacing

SIGNS = ("abs", "positive", "negative")


@dataclass(frozen=True)
class Sign:
    """Sign of the deviations that count, for maps with the sign of image - reconstruction.

    Our methods decide this in their residual; this step is for maps of other programs. It is the
    first step, and only then may a map have negative values.

    Args:
        sign: `positive` keeps voxels brighter than healthy (a legitimate choice on FLAIR),
            `negative` darker voxels, `abs` both.

    Raises:
        ValueError: unknown `sign`.
    """

    sign: str = "abs"

    def __post_init__(self) -> None:
        if self.sign not in SIGNS:
            raise ValueError(f"sign is '{self.sign}'; use one of {', '.join(SIGNS)}")

    def __call__(
        self, anomaly_map: np.ndarray, brain_mask: np.ndarray, spacing_mm: Spacing
    ) -> np.ndarray:
        """Return the map >= 0 of a `(D, H, W)` float32 map with a sign."""
        if self.sign == "abs":
            return np.abs(anomaly_map)
        return np.maximum(anomaly_map if self.sign == "positive" else -anomaly_map, 0)


@dataclass(frozen=True)
class Saturate:
    """Sets scores above a value to 1, as StRegA does before Otsu.

    Args:
        above: largest score that stays.
    """

    above: float

    def __call__(
        self, anomaly_map: np.ndarray, brain_mask: np.ndarray, spacing_mm: Spacing
    ) -> np.ndarray:
        """`(D, H, W)` float32 map to the same, saturated."""
        return np.where(anomaly_map > self.above, 1, anomaly_map).astype(np.float32)


@dataclass(frozen=True)
class Clip:
    """Clip to [0, limit] and scale to [0, 1], as MAD-AD does.

    Args:
        limit: score that becomes 1.
    """

    limit: float

    def __call__(
        self, anomaly_map: np.ndarray, brain_mask: np.ndarray, spacing_mm: Spacing
    ) -> np.ndarray:
        """`(D, H, W)` float32 map to the map in [0, 1]."""
        return (np.clip(anomaly_map, 0, self.limit) / self.limit).astype(np.float32)

"""From a map to a mask: thresholds that need no lesion label, and what counts as above."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from skimage.filters import apply_hysteresis_threshold, threshold_otsu

from brainuad.postprocess.smooth import Spacing


@dataclass(frozen=True)
class HealthyThreshold:
    """Smallest threshold with few positives in healthy brains (docs/protocol.md#2-thresholds).

    Args:
        alpha: largest share of the healthy validation subjects' brain voxels above it.
    """

    alpha: float = 0.01

    def __post_init__(self) -> None:
        if not 0 <= self.alpha < 1:
            raise ValueError(f"alpha is {self.alpha}; expected a share in [0, 1)")

    def fit(self, scores: Sequence[np.ndarray], ordered: bool = False) -> float:
        """Fits on `(N,)` scores of the brain voxels of each healthy validation subject, pooled.

        Exact, ties included: at most `alpha` of the voxels are above the result, and more than
        that are above every smaller score. Looks at one array at a time, so that they may lie in
        files: the order of float32 numbers is that of their bits, which are searched by halves.

        Args:
            scores: float32 arrays.
            ordered: each rises, which spares looking at every voxel.

        Raises:
            ValueError: no voxel.
        """
        filled = [np.asarray(score, np.float32) for score in scores if score.size]
        total = sum(score.size for score in filled)
        if total == 0:
            raise ValueError("no healthy brain voxel to fit the threshold on")
        allowed = int(np.floor(self.alpha * total))

        def above(value: np.float32) -> int:
            if ordered:
                return sum(s.size - int(np.searchsorted(s, value, side="right")) for s in filled)
            return sum(int(np.count_nonzero(score > value)) for score in filled)

        low = min(_key(score[0] if ordered else score.min()) for score in filled) - 1
        high = max(_key(score[-1] if ordered else score.max()) for score in filled)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if above(_value(middle)) <= allowed else (middle, high)
        return float(_value(high))


@dataclass(frozen=True)
class Otsu:
    """Otsu's threshold of each volume by itself.

    Args:
        background: over the whole array, the empty space around the brain included, as StRegA's
            code does; False looks at the brain alone, so that cropping changes nothing.
        frame_mm: edge lengths of the frame that the array is taken to be padded to: it gets as many
            zeros as the frame is larger, which the threshold depends on; one plane to one plane of
            it. None for the array as it is; only with `background`.

    Raises:
        ValueError: a frame without `background`.
    """

    background: bool = False
    frame_mm: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if self.frame_mm is not None and not self.background:
            raise ValueError("frame_mm is of the background; set background to true")

    def __call__(self, score: np.ndarray, brain_mask: np.ndarray, spacing_mm: Spacing) -> float:
        """`(D, H, W)` scores and bool mask to the threshold; the value itself when constant."""
        values = score.ravel() if self.background else score[brain_mask]
        if self.frame_mm is not None:
            sizes = zip(self.frame_mm, spacing_mm, score.shape, strict=True)
            voxels = round(float(np.prod([mm / edge for mm, edge, size in sizes if size > 1])))
            values = np.pad(values, (0, max(voxels - values.size, 0)))
        low, high = values.min(), values.max()
        return float(threshold_otsu(values)) if high > low else float(high)


def above(score: np.ndarray, threshold: float) -> np.ndarray:
    """`(D, H, W)` bool: the voxels above the threshold."""
    return score > threshold


@dataclass(frozen=True)
class Hysteresis:
    """Grows what is above the threshold into the connected voxels above a lower one.

    Args:
        low: the lower threshold, as a share of the threshold, in [0, 1].
    """

    low: float

    def __post_init__(self) -> None:
        if not 0 <= self.low <= 1:
            raise ValueError(f"low is {self.low}; expected a share of the threshold in [0, 1]")

    def __call__(self, score: np.ndarray, threshold: float) -> np.ndarray:
        """`(D, H, W)` scores to bool; neighbours share a face."""
        return apply_hysteresis_threshold(score, self.low * threshold, threshold)


def _key(value: np.float32) -> int:
    """An integer with the order of the float32 numbers."""
    bits = int(np.float32(value).view(np.int32))
    return bits if bits >= 0 else bits ^ 0x7FFFFFFF


def _value(key: int) -> np.float32:
    return np.int32(key if key >= 0 else key ^ 0x7FFFFFFF).view(np.float32)

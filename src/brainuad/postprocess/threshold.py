"""Thresholds that need no lesion label, and masks of the voxels above them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from skimage.filters import apply_hysteresis_threshold, threshold_otsu

from brainuad.postprocess.smooth import Spacing

Threshold = Callable[[np.ndarray, np.ndarray, Spacing], float]
"""(score, brain_mask, spacing_mm) of a scan -> its threshold, NaN where there is none."""

UNTOLD = 0.1
"""Smallest share of alpha that the voxels above the lowest score must make up. With fewer of them
the threshold would be the lowest score, and rounding would decide what is above it."""


class Scale(NamedTuple):
    """Scale of a scan's scores.

    Attributes:
        middle: score that is 0 on this scale.
        spread: difference of the scores that are 1 and 0 on this scale.
    """

    middle: float
    spread: float

    def at(self, value: float) -> float:
        """Return the float32 score of a value on this scale."""
        with np.errstate(over="ignore"):
            return float(np.float32(self.middle + value * self.spread))


@dataclass(frozen=True)
class HealthyThreshold:
    """Smallest threshold with few positives in healthy brains.

    See docs/explanation/protocol.md#2-thresholds.

    Args:
        alpha: largest share of the healthy validation subjects' brain voxels above it.
    """

    alpha: float = 0.01

    def __post_init__(self) -> None:
        if not 0 <= self.alpha < 1:
            raise ValueError(f"alpha is {self.alpha}; expected a share in [0, 1)")

    def fit(
        self,
        scores: Sequence[np.ndarray],
        ordered: bool = False,
        scales: Sequence[Scale] | None = None,
    ) -> float:
        """Fit on the pooled scores of the brain voxels of healthy validation subjects.

        Exact, ties included: at most `alpha` of the voxels are above the result, and more than
        that are above every smaller score. The order of float32 numbers is that of their bits,
        which are bisected. One array is in memory at a time: the scores of 100 brains at 1 mm take
        0.7 GB, and pooling would copy them.

        Args:
            scores: float32 arrays, one per subject.
            ordered: whether each array rises; no voxel is then looked at.
            scales: scale of each array; the threshold is then a value on these scales, and a voxel
                is above it where its score is above `Scale.at`. None for the scores as they are.

        Raises:
            ValueError: no voxel.
        """
        filled, total = _filled(scores)
        allowed = int(np.floor(self.alpha * total))
        every = scales or [Scale(0.0, 1.0)] * len(scores)
        own = [scale for scale, score in zip(every, scores, strict=True) if score.size]
        most = np.finfo(np.float32).max
        low, high = _key(-most), _key(most)
        while high - low > 1:
            middle = (low + high) // 2
            limits = [scale.at(float(_value(middle))) for scale in own]
            pairs = zip(filled, limits, strict=True)
            few = sum(_above(*pair, ordered) for pair in pairs) <= allowed
            low, high = (low, middle) if few else (middle, high)
        # 0 for -0.
        return float(_value(high)) + 0.0

    def is_told(self, scores: Sequence[np.ndarray], ordered: bool = False) -> bool:
        """Return whether healthy scores determine a threshold, see `UNTOLD`.

        Args:
            scores: scores as of `fit`.
            ordered: True where each array rises.
        """
        filled, total = _filled(scores)
        least = min(score[0] if ordered else score.min() for score in filled)
        above = sum(_above(score, float(least), ordered) for score in filled)
        return above > UNTOLD * self.alpha * total


@dataclass(frozen=True)
class Shared:
    """One threshold for every scan.

    Args:
        value: the threshold; NaN where there is none.
    """

    value: float

    def __call__(self, score: np.ndarray, brain_mask: np.ndarray, spacing_mm: Spacing) -> float:
        """Return the value."""
        return self.value


@dataclass(frozen=True)
class UpperSpread:
    """Scale of a scan by two quantiles of its own scores, the middle and an upper one.

    Gain and offset of a scan's scores change nothing. Lesions change nothing as long as abnormal
    voxels take less of the brain than 1 - `upper`. So the first of `upper` is used, and a higher
    one only for maps that are mostly constant.

    Args:
        middle: quantile that is 0.
        upper: quantiles that may be 1, rising; `fitting` chooses. experiments/thresholds measures
            the cost of each.

    Raises:
        ValueError: not 0 <= middle < upper < 1, or `upper` does not rise.
    """

    middle: float = 0.5
    upper: Sequence[float] = (0.75, 0.84, 0.90, 0.95)

    def __post_init__(self) -> None:
        order = [self.middle, *self.upper]
        if not self.upper or order[0] < 0 or order[-1] >= 1 or sorted(set(order)) != order:
            raise ValueError(
                f"middle is {self.middle}, upper {self.upper}; expected 0 <= middle < upper < 1, "
                "rising"
            )

    def fitting(self, scores: Sequence[np.ndarray], ordered: bool = False) -> "UpperSpread | None":
        """Return the scale by the first of `upper` with a spread in each of these healthy brains.

        None where there is none.
        """
        for upper in self.upper:
            one = replace(self, upper=(upper,))
            if all(one(score, ordered).spread > 0 for score in scores):
                return one
        return None

    def __call__(self, scores: np.ndarray, ordered: bool = False) -> Scale:
        """Return the scale of the `(N,)` scores of a brain, by the first of `upper`.

        Its spread is 0 where too many scores are equal.
        """
        ranks = [int(share * scores.size) for share in (self.middle, self.upper[0])]
        found = scores if ordered else np.partition(scores, ranks)
        low, high = (float(found[rank]) for rank in ranks)
        return Scale(low, high - low)


@dataclass(frozen=True)
class ScanThreshold:
    """A threshold on the scan's own scale.

    Args:
        scale: function from the scores of a brain to their scale.
        value: threshold on that scale; NaN where there is none.
    """

    scale: UpperSpread
    value: float

    def __call__(self, score: np.ndarray, brain_mask: np.ndarray, spacing_mm: Spacing) -> float:
        """Return the threshold of a scan's scores; NaN where too many of them are equal."""
        scale = self.scale(score[brain_mask])
        return scale.at(self.value) if scale.spread > 0 else float("nan")


def scan_threshold(scale: UpperSpread, value: float, upper: float) -> ScanThreshold | Shared:
    """Return the threshold that was fitted as `value` on the scale by the quantile `upper`.

    It is NaN for every scan where none was fitted.
    """
    if np.isnan(upper):
        return Shared(float("nan"))
    return ScanThreshold(replace(scale, upper=(upper,)), value)


@dataclass(frozen=True)
class Otsu:
    """Otsu's threshold of each volume by itself.

    Args:
        background: True uses the whole array with the background, as StRegA's code does; False
            uses the brain alone, so that cropping changes nothing.
        frame_mm: edge lengths in mm of the frame that the array is padded to with zeros, on which
            the threshold depends; of one plane, to one plane of it. None for the array as it is;
            only with `background`.

    Raises:
        ValueError: a frame without `background`.
    """

    background: bool = False
    frame_mm: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if self.frame_mm is not None and not self.background:
            raise ValueError("frame_mm is of the background; set background to true")

    def __call__(self, score: np.ndarray, brain_mask: np.ndarray, spacing_mm: Spacing) -> float:
        """Return the threshold of `(D, H, W)` scores; of constant scores their value."""
        values = score.ravel() if self.background else score[brain_mask]
        if self.frame_mm is not None:
            sizes = zip(self.frame_mm, spacing_mm, score.shape, strict=True)
            voxels = round(float(np.prod([mm / edge for mm, edge, size in sizes if size > 1])))
            values = np.pad(values, (0, max(voxels - values.size, 0)))
        low, high = values.min(), values.max()
        return float(threshold_otsu(values)) if high > low else float(high)


def above(score: np.ndarray, threshold: float) -> np.ndarray:
    """Return the voxels above the threshold, `(D, H, W)` bool."""
    return score > threshold


@dataclass(frozen=True)
class Hysteresis:
    """Voxels above a lower threshold that are connected to voxels above the threshold.

    Args:
        low: lower threshold, as a share of the threshold, in [0, 1].
    """

    low: float

    def __post_init__(self) -> None:
        if not 0 <= self.low <= 1:
            raise ValueError(f"low is {self.low}; expected a share of the threshold in [0, 1]")

    def __call__(self, score: np.ndarray, threshold: float) -> np.ndarray:
        """Return the mask of `(D, H, W)` scores; neighbours share a face."""
        return apply_hysteresis_threshold(score, self.low * threshold, threshold)


def _filled(scores: Sequence[np.ndarray]) -> tuple[list[np.ndarray], int]:
    """Return the arrays that are not empty as float32, and their voxels; ValueError for none."""
    filled = [np.asarray(score, np.float32) for score in scores if score.size]
    total = sum(score.size for score in filled)
    if total == 0:
        raise ValueError("no healthy brain voxel to fit the threshold on")
    return filled, total


def _above(score: np.ndarray, limit: float, ordered: bool) -> int:
    """Count the scores above a limit."""
    value = np.float32(limit)
    if ordered:
        return score.size - int(np.searchsorted(score, value, side="right"))
    return int(np.count_nonzero(score > value))


def _key(value: np.float32) -> int:
    """Return an integer with the order of the float32 numbers."""
    bits = int(np.float32(value).view(np.int32))
    return bits if bits >= 0 else bits ^ 0x7FFFFFFF


def _value(key: int) -> np.float32:
    return np.int32(key if key >= 0 else key ^ 0x7FFFFFFF).view(np.float32)

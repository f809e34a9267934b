"""Intensity normalisations of released codes, for `input.normalise`.

Each is a callable `(image, brain_mask) -> image` as in `intensity`, but its values may exceed 1.
The volume that a code takes its statistics of is the whole image there, background included; here
it is the prepared grid, whose background is 0. So a frame that fits the brain more tightly gives
other values. pDDPM's normalisation is `intensity.Percentile(1, 99)`.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class VolumeQuantiles:
    """Two quantiles of the volume become 0 and 1; what lies beyond is clipped.

    DISYRE has 0 and 0.98 (snavalm/disyre, preprocessing/utils.py:24-37, preprocessing.py:162),
    StRegA at the test 0 and 1 (soumickmj/StRegA, Pipeline.ipynb:178).

    Args:
        low: quantile in [0, 1] that becomes 0.
        high: quantile that becomes 1.
    """

    low: float = 0.0
    high: float = 0.98

    def __call__(self, image: np.ndarray, brain_mask: np.ndarray) -> np.ndarray:
        """See the module.

        Raises:
            ValueError: both quantiles are one value.
        """
        values = np.maximum(image, 0)
        bottom, top = np.quantile(values, [self.low, self.high])
        scaled = (values - bottom) / _above_zero(top - bottom)
        return _inside(np.clip(scaled, 0, 1), brain_mask)


@dataclass(frozen=True)
class StandardRange:
    """Clipped to a range around the volume's mean and divided by its length.

    The lower end is not subtracted, as in AnoDDPM (Julian-Wyatt/AnoDDPM, dataset.py:621-625,
    :714-718). Of an extracted brain the mean is below one standard deviation, so that nothing is
    clipped at the lower end.

    Args:
        low: lower end, in standard deviations from the mean.
        high: upper end.
    """

    low: float = -1.0
    high: float = 2.0

    def __call__(self, image: np.ndarray, brain_mask: np.ndarray) -> np.ndarray:
        """See the module.

        Raises:
            ValueError: a constant volume.
        """
        mean, std = float(image.mean(dtype=np.float64)), float(image.std(dtype=np.float64))
        bottom, top = mean + self.low * std, mean + self.high * std
        return _inside(np.clip(image, bottom, top) / _above_zero(top - bottom), brain_mask)


@dataclass(frozen=True)
class PositivePercentile:
    """Divided by a percentile of the voxels above 0; nothing is subtracted, nothing clipped.

    As in DAE (AntanasKascenas/DenoisingAE, src/data_preprocessing.py:12-22).

    Args:
        percentile: percentile that becomes 1.
    """

    percentile: float = 99.0

    def __call__(self, image: np.ndarray, brain_mask: np.ndarray) -> np.ndarray:
        """See the module.

        Raises:
            ValueError: nothing is above 0.
        """
        above = image[image > 0]
        if above.size == 0:
            raise ValueError("nothing is above 0")
        return _inside(image / np.percentile(above, self.percentile), brain_mask)


@dataclass(frozen=True)
class VolumeMaximum:
    """Cut at a percentile of the volume and divided by the largest value left.

    As in Baur et al. (StefanDenn3r/Unsupervised_Anomaly_Detection_Brain_MRI, utils/NII.py:53-70
    with `scaling`, dataloaders/BRAINWEB.py:292).

    Args:
        percentile: percentile of the cut.
    """

    percentile: float = 99.8

    def __call__(self, image: np.ndarray, brain_mask: np.ndarray) -> np.ndarray:
        """See the module.

        Raises:
            ValueError: nothing is above 0.
        """
        cut = np.minimum(image, np.percentile(image, self.percentile))
        return _inside(cut / _above_zero(float(cut.max())), brain_mask)


def _above_zero(length: float) -> float:
    if length <= 0:
        raise ValueError("the image is constant, or its statistics are")
    return length


def _inside(image: np.ndarray, brain_mask: np.ndarray) -> np.ndarray:
    return np.where(brain_mask, image, 0).astype(np.float32)

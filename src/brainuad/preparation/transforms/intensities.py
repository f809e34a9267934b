"""Intensities within the brain mask: normalisation, tissue maps and smoothing.

MONAI has the others: `NormalizeIntensityd`, `ScaleIntensityRangePercentilesd`,
`HistogramNormalized`. None of these has an inverse: maps and masks have no intensities to restore.
"""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import SimpleITK as sitk
from monai.config import KeysCollection
from scipy import ndimage

from brainuad.preparation.normalise.intensity import Nyul
from brainuad.preparation.tissue.segment import TissueInput
from brainuad.preparation.transforms.base import Data, EachScanTransform
from brainuad.types import Volume
from brainuad.volumes.meta_tensor import meta_tensor, volume_of


class _WithinBrain(EachScanTransform):
    """A step that computes an image from an image and its brain mask."""

    effects = ("kept", "changed")

    def image(self, volume: Volume, brain_mask: np.ndarray) -> np.ndarray:
        """The intensities that take the place of the volume's, `(D, H, W)`."""
        raise NotImplementedError

    def apply(self, data: Data, key: Hashable) -> None:
        """Replace the intensities.

        Raises:
            InputError: an empty or constant brain.
        """
        volume = volume_of(data[key])
        inside = self.brain_mask(data, key)
        array = self.image(volume, inside).astype(np.float32)
        data[key] = meta_tensor(array, data[key])


class NyulNormalized(_WithinBrain):
    """Histogram standardisation to [0, 1]; see `brainuad.preparation.normalise.intensity.Nyul`.

    Args:
        keys: scans with brain masks.
        standard: new intensities of the landmarks, `Nyul().fitted(training scans).standard`.
        percentiles: percentiles of the landmarks.
        kwargs: see `ScanTransform`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        standard: Sequence[float],
        percentiles: Sequence[float] = Nyul.percentiles,
        **kwargs: Any,
    ):
        super().__init__(keys, **kwargs)
        self.by = Nyul(tuple(percentiles), tuple(standard))

    def image(self, volume: Volume, brain_mask: np.ndarray) -> np.ndarray:
        """See the base class."""
        return self.by(volume.array, brain_mask)


class WhiteStriped(_WithinBrain):
    """WhiteStripe (Shinohara et al. 2014, NeuroImage: Clinical 6, sections 2.2 and 2.3).

    The peak of normal-appearing white matter in the smoothed histogram of the brain, and the
    intensities within `width` of its quantile, give the mean and the standard deviation that the
    image is expressed in. The background is 0.

    Args:
        keys: scans with brain masks.
        peak: `last`, the rightmost large peak, for T1w; `largest` for T2w and FLAIR.
        width: quantiles to each side of the peak, as a share of the brain.
        bins: number of bins of the histogram.
        kwargs: see `ScanTransform`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        peak: str = "last",
        width: float = 0.05,
        bins: int = 256,
        **kwargs: Any,
    ):
        super().__init__(keys, **kwargs)
        if peak not in ("last", "largest"):
            raise ValueError(f"peak is '{peak}'; use last or largest")
        self.peak, self.width, self.bins = peak, width, bins

    def image(self, volume: Volume, brain_mask: np.ndarray) -> np.ndarray:
        """See the base class."""
        inside = volume.array[brain_mask]
        if inside.size == 0 or inside.min() == inside.max():
            raise ValueError("the image is constant inside the brain")
        mode = self._mode(inside)
        at = float((inside <= mode).mean())
        low, high = np.quantile(inside, [max(at - self.width, 0), min(at + self.width, 1)])
        stripe = inside[(inside >= low) & (inside <= high)]
        if stripe.std() == 0:
            raise ValueError("the white stripe is constant")
        return np.where(brain_mask, (volume.array - stripe.mean()) / stripe.std(), 0)

    def _mode(self, inside: np.ndarray) -> float:
        top = float(np.percentile(inside, 99.5))
        counts, edges = np.histogram(inside, self.bins, (float(inside.min()), top))
        smooth = ndimage.gaussian_filter1d(counts.astype(float), self.bins / 50)
        inner = (smooth[1:-1] >= smooth[:-2]) & (smooth[1:-1] > smooth[2:])
        peaks = np.flatnonzero(inner) + 1
        # A small peak in the tail is not a tissue.
        large = [i for i in peaks if smooth[i] > 0.2 * smooth.max()]
        best = large[-1] if large and self.peak == "last" else int(smooth.argmax())
        return float(edges[best : best + 2].mean())


class TissueMapd(_WithinBrain):
    """Tissue classes in place of intensities: StRegA's input, in [0, 1].

    Args:
        keys: scans with brain masks.
        by: `TissueInput()` when None.
        kwargs: see `ScanTransform`.
    """

    def __init__(self, keys: KeysCollection, by: TissueInput | None = None, **kwargs: Any):
        super().__init__(keys, **kwargs)
        self.by = by or TissueInput()

    def image(self, volume: Volume, brain_mask: np.ndarray) -> np.ndarray:
        """See the base class."""
        return self.by.of(volume.array, brain_mask, volume.spacing_mm)


class CurvatureFlowd(_WithinBrain):
    """Smoothing along edges, none across them: curvature flow (Sethian 1999), by SimpleITK.

    The defaults are those of pDDPM's released code (`src/datamodules/create_dataset.py:209`), which
    smooths brain-extracted scans at 1 mm.

    Args:
        keys: scans with brain masks.
        iterations: number of steps.
        time_step: size of a step.
        kwargs: see `ScanTransform`.
    """

    def __init__(
        self, keys: KeysCollection, iterations: int = 3, time_step: float = 0.125, **kwargs: Any
    ):
        super().__init__(keys, **kwargs)
        self.iterations, self.time_step = iterations, time_step

    def image(self, volume: Volume, brain_mask: np.ndarray) -> np.ndarray:
        """See the base class."""
        # SimpleITK names the last axis first.
        scan = sitk.GetImageFromArray(volume.array.astype(np.float32).transpose())
        scan.SetSpacing(volume.spacing_mm)
        smooth = sitk.CurvatureFlow(scan, self.time_step, self.iterations)
        return np.where(brain_mask, sitk.GetArrayFromImage(smooth).transpose(), 0)

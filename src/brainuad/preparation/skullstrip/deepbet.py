"""Skull stripping by deepbet, a network whose weights come with its package."""

from dataclasses import dataclass

import numpy as np

from brainuad.types import Volume

RIM_MM, INSIDE_MM = 3.0, 6.0
"""Depths from the brain's border: of the rim, where CSF is, and of the inside."""

BRIGHT_RIM = 0.9
"""Intensity of the rim over the inside's from which CSF is bright: T2w has 1.0 and more, T1w, FLAIR
and PD up to 0.8 (17 scans)."""

AIR = 0.3
"""Share of Otsu's threshold below which a voxel is air."""


@dataclass(frozen=True)
class Deepbet:
    """deepbet (Fisch et al. 2024, arXiv 2308.07003), seconds per scan.

    It was made for T1w. Where CSF is bright it takes some of what surrounds the brain for brain, so
    there it also segments the scan's negative, and both must agree.

    Args:
        threshold: threshold of the network's probability.
    """

    threshold: float = 0.5

    def __call__(self, volume: Volume) -> np.ndarray:
        """See `contract`.

        Raises:
            ValueError: no brain found.
        """
        from deepbet.bet import BrainExtraction

        network = BrainExtraction(no_gpu=True)
        array = volume.array.astype(np.float32)
        try:
            share = network.run_model(array.copy())
            found = network.postprocess(share > self.threshold).astype(bool)
            if is_bright_around(array, found, volume.spacing_mm):
                share = np.minimum(share, network.run_model(negative(array)))
                found = network.postprocess(share > self.threshold).astype(bool)
        except (AssertionError, IndexError, RuntimeError, ValueError) as error:
            raise ValueError(f"deepbet found no brain ({error})") from None
        return found


def is_bright_around(
    array: np.ndarray, mask: np.ndarray, spacing_mm: tuple[float, float, float]
) -> bool:
    """Return whether the brain's rim is about as bright as its inside, as in T2w."""
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(mask, sampling=spacing_mm)
    rim, inside = array[mask & (depth <= RIM_MM)], array[depth > INSIDE_MM]
    if not rim.size or not inside.size:
        return False
    return bool(np.median(rim) > BRIGHT_RIM * np.median(inside))


def negative(array: np.ndarray) -> np.ndarray:
    """Return the scan with bright and dark exchanged; air stays 0."""
    from skimage.filters import threshold_otsu

    air = array < AIR * threshold_otsu(array)
    highest = np.percentile(array[~air], 99)
    return np.where(air, 0, np.clip(highest - array, 0, None)).astype(np.float32)

"""A synthetic scan beside the same scan without its lesion."""

import numpy as np


def scaled_alike(
    image: np.ndarray, twin: np.ndarray, inside: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Scale both so that the image's 1st to 99.9th percentiles are 0 to 1; 0 outside the brain.

    Args:
        image: `(D, H, W)`.
        twin: the same scan without the lesion.
        inside: brain mask, bool.
    """
    low, high = np.percentile(image[inside], [1, 99.9])
    first, second = (
        np.where(inside, np.clip((one - low) / (high - low), 0, 1), 0).astype(np.float32)
        for one in (image, twin)
    )
    return first, second


def lesion_contrast(
    image: np.ndarray, twin: np.ndarray, lesion: np.ndarray, inside: np.ndarray
) -> float:
    """Return the mean of image - twin over the lesion, in standard deviations of the twin's brain.

    NaN without a lesion.
    """
    shift = float((image - twin)[lesion].mean()) if lesion.any() else float("nan")
    return shift / float(twin[inside].std())

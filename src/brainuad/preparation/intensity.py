"""Intensity normalisation; it has no inverse because maps and masks never need one."""

import numpy as np


def percentile_normalise(
    array: np.ndarray, brain_mask: np.ndarray, low: float = 1.0, high: float = 99.9
) -> np.ndarray:
    """Maps the `low` and `high` percentiles of the brain to 0 and 1, clips, clears the background.

    Args:
        array: `(D, H, W)`, any unit.
        brain_mask: `(D, H, W)` bool.
        low: percentile in [0, 100].
        high: percentile in [0, 100], above `low`.

    Returns:
        float32 in [0, 1], zero outside the brain.

    Raises:
        ValueError: the brain is constant, or empty.
    """
    inside = array[brain_mask]
    if inside.size == 0:
        raise ValueError("the brain mask is empty")
    bottom, top = np.percentile(inside, [low, high])
    if top <= bottom:
        raise ValueError("the image is constant inside the brain")
    scaled = np.clip((array - bottom) / (top - bottom), 0.0, 1.0)
    return np.where(brain_mask, scaled, 0.0).astype(np.float32)

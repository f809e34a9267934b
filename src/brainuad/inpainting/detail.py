"""Copy fine detail into a filling from the other half of the brain.

A network trained by the mean absolute error fills a large region with probable values, which are
smooth and lack folds and vessels. With a Gaussian G over brain only, a filling x and its left-right
mirror image M,

    x + w ((M - G M) - (x - G x))

keeps coarse structure of the filling and takes fine structure from the other side. w is 1 where the
mirror voxel is unmarked brain, and fades to 0 beside other voxels. The folds of both sides are
similar, not the same, so the detail is invented, like the whole filling.
"""

import numpy as np
from scipy import ndimage

ALIKE = 0.85
"""Smallest Dice of a brain and its mirror image for a midsagittal plane in the grid's middle."""

_FADE_MM = 1.5


def with_mirrored_detail(
    image: np.ndarray,
    hole: np.ndarray,
    brain_mask: np.ndarray,
    spacing_mm: tuple[float, float, float],
    sigma_mm: float = 6.0,
) -> np.ndarray:
    """Return the image with detail in its filled region.

    Args:
        image: `(D, H, W)`, filled, in [0, 1]; the first axis is left to right.
        hole: `(D, H, W)` bool, the filled region.
        brain_mask: `(D, H, W)` bool.
        spacing_mm: edges of a voxel.
        sigma_mm: standard deviation of the Gaussian; finer structure counts as detail.

    Returns:
        `(D, H, W)` in [0, 1], unchanged outside the region, and everywhere if the midsagittal plane
        is not the middle of the grid, as it is for scans on the atlas.
    """
    mirrored_brain = brain_mask[::-1]
    both = brain_mask & mirrored_brain
    if 2 * both.sum() < ALIKE * (brain_mask.sum() + mirrored_brain.sum()):
        return image
    sigmas = [sigma_mm / edge for edge in spacing_mm]
    detail = image - _smooth(image, brain_mask, sigmas)
    shown = both & ~hole[::-1]
    fade = ndimage.gaussian_filter(shown.astype(np.float32), [_FADE_MM / e for e in spacing_mm])
    weight = np.where(hole & shown, fade, 0)
    return (image + weight * (detail[::-1] - detail)).clip(0, 1).astype(image.dtype)


def _smooth(image: np.ndarray, where: np.ndarray, sigmas: list[float]) -> np.ndarray:
    """Return the mean of the neighbours within `where`, weighted by a Gaussian."""
    share = ndimage.gaussian_filter(where.astype(np.float32), sigmas)
    return ndimage.gaussian_filter(np.where(where, image, 0), sigmas) / share.clip(1e-3)

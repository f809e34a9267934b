"""Fine detail for a filling, from the other half of the brain.

A network that is trained by the mean absolute error fills a large hole with what is probable at
every voxel, which is smooth; folds and vessels are not probable anywhere. With a Gaussian G over
brain alone, a filling x and its left-right mirror image M,

    x + w ((M - G M) - (x - G x))

keeps of the filling what is larger than G and takes from the other side what is finer. w is 1 where
the mirror voxel is brain that was seen, and fades to 0 beside the others. An invention like all of
the filling: the folds of the two sides are alike, not the same.
"""

import numpy as np
from scipy import ndimage

ALIKE = 0.85
"""Dice from which on a brain and its mirror image count as mirrored about the grid's middle."""

_FADE_MM = 1.5


def with_mirrored_detail(
    image: np.ndarray,
    hole: np.ndarray,
    brain_mask: np.ndarray,
    spacing_mm: tuple[float, float, float],
    sigma_mm: float = 6.0,
) -> np.ndarray:
    """The image with detail in its filled hole.

    Args:
        image: `(D, H, W)`, filled, in [0, 1]; the first axis is left to right.
        hole: `(D, H, W)` bool, what was filled.
        brain_mask: `(D, H, W)` bool.
        spacing_mm: edges of a voxel.
        sigma_mm: standard deviation of the Gaussian; finer structure counts as detail.

    Returns:
        `(D, H, W)` in [0, 1], outside the hole as it was. All of it is, where the midsagittal plane
        is not the middle of the grid, as it is of scans that lie on the atlas.
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
    """The mean of the neighbours within `where`, weighted by a Gaussian."""
    share = ndimage.gaussian_filter(where.astype(np.float32), sigmas)
    return ndimage.gaussian_filter(np.where(where, image, 0), sigmas) / share.clip(1e-3)

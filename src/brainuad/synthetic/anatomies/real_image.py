"""The noise-free healthy image of an anatomy that was made from a real scan."""

from dataclasses import replace

from torch import Tensor

from brainuad.synthetic.anatomies.classes import GREY, WHITE
from brainuad.synthetic.anatomies.contrast import Contrast
from brainuad.synthetic.anatomies.scanner import ScannerSettings
from brainuad.synthetic.anatomies.warp import Anatomy, RealImage

FARTHEST = 2.5
"""Standard deviations beyond which a voxel's own difference from its tissues is cut: vessels."""

STEEPEST = 2.0
"""Largest factor of the real scan's texture in another sequence, so that noise stays noise."""

NOISE = 0.5
"""Share of the scanner's noise that a real scan gets: it has its own."""


def real_image(anatomy: Anatomy, real: RealImage, contrast: Contrast) -> tuple[Tensor, Contrast]:
    """Return the image, and the contrast that it has.

    The scan's own sequence is the scan itself, scaled. Into another one it is remapped by tissue:
    y' = sum_k share_k (mu'_k + s (y - mu_k)), mu being the scan's class means, mu' those of the
    drawn contrast and s the ratio of their spreads, negative where bright turns to dark.

    Args:
        anatomy: anatomy of the real scan.
        real: its image.
        contrast: as drawn; white matter gets its value.

    Returns:
        `(D, H, W)`, 0 or more, and the contrast with the means of the image.
    """
    white = contrast.white
    if real.sequence == contrast.sequence:
        return real.image.clamp_min(0) * white, replace(contrast, means=real.means * white)
    tissues = anatomy.tissues
    # Shares of voxels at the brain's border sum to less than 1.
    total = tissues.sum(0).clamp_min(1e-3)
    size = anatomy.size
    own = (real.means @ tissues.flatten(1)).reshape(size) / total
    drawn = (contrast.means @ tissues.flatten(1)).reshape(size) / total
    sign = contrast.sign * (-1.0 if real.sequence == "T1w" else 1.0)
    image = drawn
    for group, spread, fine, coarse in zip(
        (WHITE, GREY), real.spreads, *contrast.deviations, strict=True
    ):
        wanted = (fine**2 + coarse**2) ** 0.5
        slope = sign * min(STEEPEST, wanted / spread) * white
        off = (real.image - own).clamp(-FARTHEST * spread, FARTHEST * spread)
        image = image + slope * off * tissues[list(group)].sum(0) / total
    return image.clamp_min(0), contrast


def quieter(settings: ScannerSettings) -> ScannerSettings:
    """Return the settings of a scanner for an image that has noise already."""
    return replace(settings, noise=(0.0, NOISE * settings.noise[1]))

"""The grids of a bank: a whole head, and the brain in its middle.

The brain's grid is that of `volumes.template` at the same spacing. The head's has further voxels on
each side, so that a brain extractor can be trained on the same anatomies.
"""

import numpy as np

from brainuad.types import Volume
from brainuad.volumes.template import load_template

MARGIN_MM = (16, 16, 24)
"""Excess of the head's grid over the brain's, on each side of the axes D, H, W."""

EXTENTS = ("brain", "head")


def margin(spacing_mm: float) -> tuple[int, int, int]:
    """Return the margin in voxels."""
    return tuple(int(length // spacing_mm) for length in MARGIN_MM)  # type: ignore[return-value]


def head_grid(spacing_mm: float) -> Volume:
    """Return the grid of whole heads, its voxels empty; RAS axes in MNI152 space."""
    template = load_template(spacing_mm)
    extra = np.array(margin(spacing_mm))
    affine = template.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ extra
    shape = tuple(np.array(template.brain.shape) + 2 * extra)
    return Volume(np.zeros(shape, dtype=np.uint8), affine)


def extent_slices(extent: str, spacing_mm: float) -> tuple[slice, slice, slice]:
    """Return the part of a head's arrays that an extent is.

    Raises:
        ValueError: an unknown extent.
    """
    if extent not in EXTENTS:
        raise ValueError(f"extent is '{extent}'; use one of {', '.join(EXTENTS)}")
    if extent == "head":
        return (slice(None),) * 3
    return tuple(slice(n, -n if n else None) for n in margin(spacing_mm))  # type: ignore[return-value]

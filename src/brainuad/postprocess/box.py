"""The part of an array that a step on the brain has to look at: about half of a usual volume."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage


def brain_box(brain_mask: np.ndarray, margin: Sequence[int]) -> tuple[slice, ...]:
    """The smallest box around a mask with a margin, as far as the array reaches.

    Args:
        brain_mask: `(D, H, W)` bool; the whole array is the box of an empty one.
        margin: voxels along each axis.
    """
    found = ndimage.find_objects(brain_mask.astype(np.uint8))
    if not found:
        return tuple(slice(0, size) for size in brain_mask.shape)
    return tuple(
        slice(max(part.start - width, 0), min(part.stop + width, size))
        for part, width, size in zip(found[0], margin, brain_mask.shape, strict=True)
    )

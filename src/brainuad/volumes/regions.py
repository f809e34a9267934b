"""Regions of a mask: its bounding box and its largest connected part."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage


def box_of(mask: np.ndarray, margin: Sequence[int] = (0, 0, 0)) -> tuple[slice, ...]:
    """The bounding box of a mask with `margin` voxels on both sides of each axis, cut to the array.

    Raises:
        ValueError: the mask is empty.
    """
    if not mask.any():
        raise ValueError("the brain mask is empty")
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    return tuple(
        slice(max(edge.start - room, 0), min(edge.stop + room, size))
        for edge, room, size in zip(box, margin, mask.shape, strict=True)
    )


def largest_region(mask: np.ndarray) -> np.ndarray:
    """Return the largest connected region of a mask, across faces; the mask itself where empty.

    Args:
        mask: `(D, H, W)` bool.
    """
    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    return labels == np.bincount(labels.ravel())[1:].argmax() + 1

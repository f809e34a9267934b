"""Resampling from the prepared grid to the grid of the raw scan.

Training, prediction, evaluation and lesion filling all use these functions, so that the map a user
opens is the map that is scored.
"""

from typing import NamedTuple

import numpy as np

from brainuad.errors import InputError
from brainuad.postprocess.pipeline import Postprocess
from brainuad.types import Space, Volume
from brainuad.volumes.native_space import to_native
from brainuad.volumes.read import read_native

LEAST_SHARE = 0.5
"""Smallest share of brain by which an image is divided. A voxel below it is not brain."""


class NativeMap(NamedTuple):
    """A post-processed anomaly map on the native grid.

    Attributes:
        score: `(D, H, W)` float32, 0 outside `brain_mask` unless `masks_last`.
        brain_mask: `(D, H, W)` bool, on its grid, not empty.
    """

    score: Volume
    brain_mask: np.ndarray

    @property
    def inside(self) -> np.ndarray:
        """`(D, H, W)` float32: the map for the user, always 0 outside the brain."""
        return np.where(self.brain_mask, self.score.array, 0)


def native_map(
    score: Volume,
    brain_mask: np.ndarray,
    space: Space,
    native: Volume | None = None,
    masks_last: bool = False,
) -> NativeMap:
    """Resample a post-processed map and its brain mask to the native grid.

    The map is interpolated linearly, the mask by nearest neighbour.

    Args:
        score: post-processed map on the prepared grid.
        brain_mask: `(D, H, W)` bool on the same grid.
        space: way from the prepared grid to the native scan.
        native: the native scan; None to read it.
        masks_last: False sets the map to 0 outside the native brain mask.

    Raises:
        InputError: the native scan or the way to it cannot be read, or the brain lies outside it.
    """
    if space.native is None:
        return NativeMap(score, brain_mask)
    native = read_native(space.native) if native is None else native
    carried = native_array(score, native, space)
    inside = native_array(Volume(brain_mask, score.affine), native, space, order=0) > 0.5
    if not inside.any():
        raise InputError(
            f"{space.native}: the prepared brain lies outside it; mend the transform or affine"
        )
    kept = carried if masks_last else np.where(inside, carried, 0)
    return NativeMap(Volume(kept, native.affine), inside)


def native_mask(found: NativeMap, postprocess: Postprocess, threshold: float) -> np.ndarray:
    """Segment a native map, at the native spacing.

    Returns:
        `(D, H, W)` bool.
    """
    spacing = found.score.spacing_mm
    return postprocess.segment(found.score.array, found.brain_mask, spacing, threshold)


def native_image(
    image: Volume,
    brain_mask: np.ndarray,
    space: Space,
    native: Volume,
    share: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Resample an image of a brain to the native grid without darkening its rim.

    Interpolation mixes voxels at the rim with the background. Division by the interpolated brain
    mask undoes that.

    Args:
        image: image on the prepared grid; values outside the brain are ignored.
        brain_mask: `(D, H, W)` bool on the same grid.
        space: way from the prepared grid to the native scan.
        native: the native scan.
        share: share of brain returned by an earlier call with this brain mask.

    Returns:
        `(D, H, W)` float32 image, valid where the share of brain is above `LEAST_SHARE`, and the
        `(D, H, W)` share of brain per voxel, in [0, 1].
    """
    if share is None:
        brain = Volume(brain_mask.astype(np.float32), image.affine)
        share = native_array(brain, native, space)
    inside = Volume(np.where(brain_mask, image.array, 0), image.affine)
    return native_array(inside, native, space) / np.maximum(share, LEAST_SHARE), share


def native_array(volume: Volume, native: Volume, space: Space, order: int = 1) -> np.ndarray:
    """Resample any volume to the native grid.

    Args:
        volume: volume on the prepared grid.
        native: the native scan.
        space: way from the prepared grid to the native scan.
        order: 1 for linear interpolation, 0 for the nearest neighbour.

    Returns:
        `(D, H, W)` float32, 0 outside the prepared field of view.
    """
    return to_native(volume.array, volume.affine, native, space.way, order)

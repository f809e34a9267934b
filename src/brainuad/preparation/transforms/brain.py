"""Steps on one scan's own grid: its brain, its bias field, its quality."""

import time
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection

from brainuad.preparation.bias import N4
from brainuad.preparation.quality import measures
from brainuad.preparation.skullstrip.auto import Auto
from brainuad.preparation.skullstrip.contract import SkullStrip
from brainuad.preparation.skullstrip.given import Given
from brainuad.preparation.transforms.base import Data, ScanTransform, own_world, reported
from brainuad.preparation.transforms.load import FILE
from brainuad.volumes.masks import require_lesion_of
from brainuad.volumes.meta_tensor import meta_tensor, volume_of
from brainuad.volumes.orient import turned_back, upright

TURNS = ".turns"
"""Key of `{scan: (3, 3) rotation}`: how heads lie that were found turned (`orient.turn_of`)."""


class SkullStripd(ScanTransform):
    """Find the brain: adds the mask of each scan that has none, and changes no voxel of the scan.

    A lesion label is compared with the brain (`brainuad.volumes.masks.require_lesion_of`).

    It has no inverse, because a mask is taken back by the steps that moved it.

    Args:
        keys: scans, axes in RAS order (`Orientationd(axcodes="RAS")`).
        by: back end of `brainuad.preparation.skullstrip`; `Auto()` when None.
        kwargs: see `ScanTransform`.
    """

    effects = ("kept", "kept; adds the brain mask")
    parameters = ("by",)

    REMEDY = "check that it shows a head"

    def __init__(self, keys: KeysCollection, by: SkullStrip | None = None, **kwargs: Any):
        super().__init__(keys, **kwargs)
        self.by: SkullStrip = by or Auto()

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Add the brain masks.

        Raises:
            InputError: no brain found, or a lesion label that is none of it.
        """
        found = dict(data)
        for key in self.key_iterator(found):
            with self.scan(found, key):
                started = time.perf_counter()
                volume = volume_of(found[key])
                by: SkullStrip = Given()
                if self.mask_key(key) not in found:
                    by = self.by.choose(volume) if isinstance(self.by, Auto) else self.by
                    # What finds brains knows heads upright; the grid stays the scan's.
                    turn = found.get(TURNS, {}).get(key)
                    mask = by(volume if turn is None else upright(volume, turn))
                    mask = mask if turn is None else turned_back(mask, volume, turn)
                    found[self.mask_key(key)] = meta_tensor(mask.astype(np.uint8), found[key])
                if not found[self.mask_key(key)].any():
                    raise ValueError("no brain found")
                label = found.get(f"{key}{self.label_postfix}")
                if label is not None:
                    inside = self.brain_mask(found, key)
                    file = Path(label.meta.get(FILE, str(key)))
                    require_lesion_of(file, volume_of(label).array > 0.5, inside)
                seconds = round(time.perf_counter() - started, 1)
                said = {"by": repr(by), "seconds": seconds}
                found[key] = reported(found[key], skullstrip=said)
        return found


class N4BiasFieldCorrectiond(ScanTransform):
    """Divide by the bias field that N4 estimates within the brain mask, if there is one.

    It has no inverse, because maps and masks have no intensities.

    Args:
        keys: scans.
        by: with the parameters of N4; `N4()` when None.
        kwargs: see `ScanTransform`.
    """

    effects = ("kept", "divided by the bias field")
    parameters = ("by",)

    REMEDY = "check that it shows a head"

    def __init__(self, keys: KeysCollection, by: N4 | None = None, **kwargs: Any):
        super().__init__(keys, **kwargs)
        self.by = by or N4()

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Correct the intensities.

        Raises:
            InputError: nothing above 0, or a sheared affine.
        """
        found = dict(data)
        for key in self.key_iterator(found):
            with self.scan(found, key):
                started = time.perf_counter()
                masked = self.mask_key(key) in found
                inside = self.brain_mask(found, key) if masked else None
                corrected, field = self.by(own_world(found[key]), inside)
                found[key] = meta_tensor(corrected.array, found[key])
                where = slice(None) if inside is None else inside
                said = {
                    "field_range": [float(v) for v in np.percentile(field.array[where], [1, 99])],
                    "seconds": round(time.perf_counter() - started, 1),
                }
                found[key] = reported(found[key], bias=said)
        return found


class MeasureScand(ScanTransform):
    """Measure brain volume, mask at the border and noise; changes nothing."""

    effects = ("kept", "kept; measures brain volume, noise and mask border")

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Add the measures to the report, as `quality`."""
        found = dict(data)
        for key in self.key_iterator(found):
            with self.scan(found, key):
                volume = volume_of(found[key])
                said = measures.measure(volume, volume.array, self.brain_mask(found, key))
                found[key] = reported(found[key], quality=said)
        return found


class ExtractBraind(ScanTransform):
    """Set what is outside the brain mask, and what is below 0, to 0; there is no inverse."""

    effects = ("kept", "0 outside the brain and below 0")

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Clear the background.

        Raises:
            InputError: no brain mask.
        """
        found = dict(data)
        for key in self.key_iterator(found):
            with self.scan(found, key):
                image, inside = found[key], self.brain_mask(found, key)
                clear = np.where(inside, np.maximum(image.numpy()[0], 0), 0)
                found[key] = meta_tensor(clear.astype(np.float32), image)
        return found

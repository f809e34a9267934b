"""Steps on one scan's own grid: its brain, its bias field, its quality."""

import time
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection

from brainuad.preparation.bias import N4
from brainuad.preparation.quality import measures
from brainuad.preparation.skullstrip.auto import Auto
from brainuad.preparation.skullstrip.contract import SkullStrip
from brainuad.preparation.skullstrip.given import Given
from brainuad.preparation.transforms.base import Data, EachScanTransform, own_world, reported
from brainuad.preparation.transforms.load import FILE
from brainuad.volumes.masks import require_lesion_of
from brainuad.volumes.meta_tensor import meta_tensor, volume_of
from brainuad.volumes.orient import turned_back, upright

TURNS = ".turns"
"""Key of `{scan: (3, 3) rotation}`: how heads lie that were found turned (`orient.turn_of`)."""


class SkullStripd(EachScanTransform):
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

    def apply(self, data: Data, key: Hashable) -> None:
        """Add the brain masks.

        Raises:
            InputError: no brain found, or a lesion label that is none of it.
        """
        started = time.perf_counter()
        volume = volume_of(data[key])
        by: SkullStrip = Given()
        if self.mask_key(key) not in data:
            by = self.by.choose(volume) if isinstance(self.by, Auto) else self.by
            # Back ends expect upright heads. The grid stays the scan's.
            turn = data.get(TURNS, {}).get(key)
            mask = by(volume if turn is None else upright(volume, turn))
            mask = mask if turn is None else turned_back(mask, volume, turn)
            data[self.mask_key(key)] = meta_tensor(mask.astype(np.uint8), data[key])
        if not data[self.mask_key(key)].any():
            raise ValueError("no brain found")
        label = data.get(f"{key}{self.label_postfix}")
        if label is not None:
            inside = self.brain_mask(data, key)
            file = Path(label.meta.get(FILE, str(key)))
            require_lesion_of(file, volume_of(label).array > 0.5, inside)
        seconds = round(time.perf_counter() - started, 1)
        said = {"by": repr(by), "seconds": seconds}
        data[key] = reported(data[key], skullstrip=said)


class N4BiasFieldCorrectiond(EachScanTransform):
    """Divide by the bias field that N4 estimates within the brain mask, if there is one.

    It has no inverse, because maps and masks have no intensities.

    Args:
        keys: scans.
        by: bias correction with its parameters; `N4()` when None.
        kwargs: see `ScanTransform`.
    """

    effects = ("kept", "divided by the bias field")
    parameters = ("by",)

    REMEDY = "check that it shows a head"

    def __init__(self, keys: KeysCollection, by: N4 | None = None, **kwargs: Any):
        super().__init__(keys, **kwargs)
        self.by = by or N4()

    def apply(self, data: Data, key: Hashable) -> None:
        """Correct the intensities.

        Raises:
            InputError: nothing above 0, or a sheared affine.
        """
        started = time.perf_counter()
        masked = self.mask_key(key) in data
        inside = self.brain_mask(data, key) if masked else None
        corrected, field = self.by(own_world(data[key]), inside)
        data[key] = meta_tensor(corrected.array, data[key])
        where = slice(None) if inside is None else inside
        said = {
            "field_range": [float(v) for v in np.percentile(field.array[where], [1, 99])],
            "seconds": round(time.perf_counter() - started, 1),
        }
        data[key] = reported(data[key], bias=said)


class MeasureScand(EachScanTransform):
    """Measure brain volume, mask at the border and noise; changes nothing."""

    effects = ("kept", "kept; measures brain volume, noise and mask border")

    def apply(self, data: Data, key: Hashable) -> None:
        """Add the measures to the report, as `quality`."""
        volume = volume_of(data[key])
        said = measures.measure(volume, volume.array, self.brain_mask(data, key))
        data[key] = reported(data[key], quality=said)


class ExtractBraind(EachScanTransform):
    """Set what is outside the brain mask, and what is below 0, to 0; there is no inverse."""

    effects = ("kept", "0 outside the brain and below 0")

    def apply(self, data: Data, key: Hashable) -> None:
        """Clear the background.

        Raises:
            InputError: no brain mask.
        """
        image, inside = data[key], self.brain_mask(data, key)
        clear = np.where(inside, np.maximum(image.numpy()[0], 0), 0)
        data[key] = meta_tensor(clear.astype(np.float32), image)

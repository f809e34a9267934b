"""Registration as header changes: sequences of a subject to one another, and to the atlas."""

import time
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection
from scipy import ndimage

from brainuad.preparation.atlas import load_brain_atlas
from brainuad.preparation.register.checked import mended
from brainuad.preparation.register.linear import Register, Registration
from brainuad.preparation.skullstrip.given import Given
from brainuad.preparation.transforms.base import (
    KNOWN,
    Data,
    WorldTransform,
    report,
    reported,
    to_file,
)
from brainuad.preparation.transforms.brain import TURNS
from brainuad.volumes.meta_tensor import volume_of
from brainuad.volumes.orient import turn_of


class HeadTurned(Exception):
    """A head has another orientation than its brain was searched in.

    Attributes:
        lie: `{scan: (degrees, (3, 3) rotation)}`, how the heads lie (`orient.turn_of`).
    """

    def __init__(self, lie: dict[Hashable, tuple[float, np.ndarray]]):
        super().__init__("the head lies turned")
        self.lie = lie


class RegisterBetweend(WorldTransform):
    """Register the other sequences of a subject to its reference, the first key that is there.

    Args:
        keys: scans, the reference first.
        by: `Register("rigid")` when None.
        kwargs: see `WorldTransform`.
    """

    effects = ("affine to the reference's world, no interpolation", "kept")
    parameters = ("by",)

    def __init__(self, keys: KeysCollection, by: Register | None = None, **kwargs: Any):
        super().__init__(keys, **kwargs)
        self.by = by or Register("rigid")

    def __call__(self, data: Mapping[Hashable, Any], lazy: bool | None = None) -> Data:
        """Change the affines.

        Raises:
            InputError: two sequences cannot be registered.
        """
        found = dict(data)
        present = list(self.key_iterator(found))
        for key in present[:1]:
            self.move(found, key, np.eye(4), lazy)
        for key in present[1:]:
            with self.scan(found, key):
                started = time.perf_counter()
                where = None
                if self.mask_key(present[0]) in found:
                    inside = self.brain_mask(found, present[0])
                    where = ndimage.binary_dilation(inside, iterations=2)
                fixed, moving = volume_of(found[present[0]]), volume_of(found[key])
                laid = self.by(fixed, moving, where)
                self.move(found, key, laid.matrix, lazy)
                said = {"reference": str(present[0]), **_said(laid, started)}
                found[key] = reported(found[key], between=said)
        return found


class AffineToAtlasd(WorldTransform):
    """Register the reference, the first key that is there, to the atlas; the others go with it.

    Args:
        keys: scans, brain-extracted, registered to the reference.
        by: `Register("affine", turns=True, distinct=True)` when None.
        atlas_image: a brain-extracted template; None for MNI152.
        atlas_mask: brain mask of the template.
        stop_if_turned: raise `HeadTurned` if a head lies otherwise than in the data's `turns`.
        kwargs: see `WorldTransform`.
    """

    effects = ("affine to the atlas's world, no interpolation", "kept")
    parameters = ("by", "atlas_image")

    REMEDY = "check that it shows a brain"

    def __init__(
        self,
        keys: KeysCollection,
        by: Register | None = None,
        atlas_image: Path | None = None,
        atlas_mask: Path | None = None,
        stop_if_turned: bool = False,
        **kwargs: Any,
    ):
        super().__init__(keys, **kwargs)
        self.by = by or Register("affine", turns=True, distinct=True)
        self.atlas_image, self.atlas_mask = atlas_image, atlas_mask
        self.stop_if_turned = stop_if_turned

    def __call__(self, data: Mapping[Hashable, Any], lazy: bool | None = None) -> Data:
        """Change the affines.

        Raises:
            InputError: the reference cannot be registered.
            HeadTurned: see `stop_if_turned`.
        """
        found = dict(data)
        present = tuple(self.key_iterator(found))
        for reference in present[:1]:
            with self.scan(found, reference, present):
                started = time.perf_counter()
                atlas = load_brain_atlas(self.atlas_image, self.atlas_mask)
                moving = volume_of(found[reference])
                known = found.get(KNOWN, {}).get(reference)
                laid = known or self.by(atlas.image, moving, atlas.brain_mask)
                moved = self._moved(found, present, laid.matrix, lazy)
                if not known:
                    # A head that lies turned has stopped by now: its brain is sought again anyway.
                    masked = self.mask_key(reference) in found
                    inside = self.brain_mask(found, reference) if masked else moving.array > 0
                    first, laid = laid, mended(laid, self.by, atlas, moving, inside)
                    if laid is not first:
                        moved = self._moved(found, present, laid.matrix, lazy)
                found |= moved
                said = {"template": atlas.name, "kind": self.by.kind, **_said(laid, started)}
                found[reference] = reported(found[reference], atlas=said)
        return found

    def _moved(
        self, data: Data, keys: tuple[Hashable, ...], matrix: np.ndarray, lazy: bool | None
    ) -> Data:
        """The data with the scans in the atlas's world."""
        moved = dict(data)
        for key in keys:
            self.move(moved, key, matrix, lazy)
        if self.stop_if_turned:
            self._look_at_turns(moved, keys)
        return moved

    def _look_at_turns(self, data: Data, keys: tuple[Hashable, ...]) -> None:
        # A mask that the source gives does not depend on how the head lies.
        by = {key: report(data[key]).get("skullstrip", {}).get("by") for key in keys}
        sought = [key for key in keys if by[key] != repr(Given())]
        lie = {key: turn_of(to_file(data[key])) for key in sought}
        known = data.get(TURNS, {})
        if any(
            not np.array_equal(turn, known.get(key, np.eye(3))) for key, (_, turn) in lie.items()
        ):
            raise HeadTurned(lie)


def _said(laid: Registration, started: float) -> dict[str, Any]:
    """Return the report of a registration."""
    return {
        "similarity": laid.similarity,
        "seconds": round(time.perf_counter() - started, 1),
        **({"again": laid.again} if laid.again else {}),
    }

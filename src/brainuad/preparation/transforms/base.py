"""Shared parts of the steps: names in the dictionary, reports and failures."""

import json
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data.meta_tensor import MetaTensor
from monai.transforms.inverse import InvertibleTransform
from monai.transforms.transform import LazyTransform, MapTransform
from monai.utils.enums import TraceKeys

from brainuad.errors import InputError
from brainuad.types import Volume
from brainuad.volumes.meta_tensor import volume_of
from brainuad.volumes.native_space import matrix_record, parts, way_of

Data = dict[Hashable, Any]

REPORT = "preparation"
"""Key in an image's metadata: what each step found, as JSON, so that MONAI can batch it."""

WAY = "way_back"
"""Key in an image's metadata: records of `brainuad.volumes.native_space`, as JSON."""


KNOWN = ".known"
"""Key of `{reference: Registration}`, to the atlas, of a subject that is prepared there already."""


class ScanTransform(MapTransform):
    """A step on scans of one subject.

    A scan `T1w` may come with its brain mask `T1w.brain` and its lesion label `T1w.lesion`. All
    are `(1, D, H, W)`. No `_` starts a postfix: MONAI's `Spacingd` takes such keys for metadata.

    Args:
        keys: scans, in order of preference: the first that is there is the reference.
        allow_missing_keys: whether a scan may be missing.
        failures_key: key of the dictionary of scans that failed, `{key: reason}`; such a scan
            leaves the data. None raises the error.
    """

    mask_postfix, label_postfix = ".brain", ".lesion"

    REMEDY = ""
    """Advice about a scan that fails, after its reason."""

    effects: tuple[str, str] = ("kept", "kept")
    """Effects on the grid and on the intensities, as `brainuad-prepare --explain` prints them."""

    parameters: tuple[str, ...] = ()
    """Attributes that `--explain` prints."""

    def __init__(
        self,
        keys: KeysCollection,
        allow_missing_keys: bool = False,
        failures_key: str | None = None,
    ):
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.failures_key = failures_key

    def mask_key(self, key: Hashable) -> str:
        """Return the key of a scan's brain mask."""
        return f"{key}{self.mask_postfix}"

    def brain_mask(self, data: Mapping[Hashable, Any], key: Hashable) -> np.ndarray:
        """Return the brain mask of a scan, `(D, H, W)` bool.

        Raises:
            ValueError: there is none.
        """
        name = self.mask_key(key)
        if name not in data:
            raise ValueError(f"no brain mask under '{name}'; run SkullStripd before")
        return volume_of(data[name]).array > 0.5

    def names(self, key: Hashable, data: Mapping[Hashable, Any]) -> list[Hashable]:
        """Return the keys of a scan, its brain mask and its lesion label, as far as they exist."""
        found = [key, self.mask_key(key), f"{key}{self.label_postfix}"]
        return [name for name in found if name in data]

    @contextmanager
    def scan(self, data: Data, key: Hashable, also: tuple[Hashable, ...] = ()) -> Iterator[None]:
        """List the scan as failed where the block fails, and remove it and the scans `also`."""
        try:
            yield
        except (InputError, ValueError) as error:
            said = str(error)
            if not isinstance(error, InputError):
                file = data[key].meta.get("filename_or_obj", key) if key in data else key
                said = "; ".join(part for part in (f"{file}: {error}", self.REMEDY) if part)
            if self.failures_key is None:
                raise InputError(said) from None
            data[self.failures_key] = data.get(self.failures_key, {}) | {key: said}
            for name in (key, *also):
                for one in self.names(name, data):
                    del data[one]


def own_world(image: MetaTensor) -> Volume:
    """The image in the world of its file: a registration may have sheared its affine."""
    volume = volume_of(image)
    return Volume(volume.array, to_file(image) @ volume.affine)


def to_file(image: MetaTensor) -> np.ndarray:
    """The `(4, 4)` matrix of its registrations, from its present world to that of its file."""
    return parts(way_of(records(image)))[2]


def report(image: MetaTensor) -> dict[str, Any]:
    """Return the reports of the steps about an image."""
    return json.loads(image.meta.get(REPORT, "{}"))


def reported(image: MetaTensor, **found: Any) -> MetaTensor:
    """The image with more in its report; the one that was given keeps its own."""
    image = copied(image)
    image.meta[REPORT] = json.dumps(report(image) | found)
    return image


def records(image: MetaTensor) -> list[dict[str, Any]]:
    """The way back of an image, from its present world to that of its file."""
    return json.loads(image.meta.get(WAY, "[]"))


def set_records(image: MetaTensor, way: list[dict[str, Any]]) -> None:
    """Give an image another way back, in place."""
    image.meta[WAY] = json.dumps(way)


def copied(image: MetaTensor) -> MetaTensor:
    """The same voxels with metadata of their own."""
    return MetaTensor(image.as_tensor()).copy_meta_from(image)


class EachScanTransform(ScanTransform):
    """A step that changes each scan by itself. See `ScanTransform` for the arguments."""

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Apply the step to each scan.

        Raises:
            InputError: see `apply`.
        """
        found = dict(data)
        for key in self.key_iterator(found):
            with self.scan(found, key):
                self.apply(found, key)
        return found

    def apply(self, data: Data, key: Hashable) -> None:
        """Replace the entries of one scan in `data`; entries that are replaced stay as they were.

        Raises:
            InputError: the scan cannot be prepared.
            ValueError: the same; its file is named by the caller.
        """
        raise NotImplementedError


class WorldTransform(ScanTransform, LazyTransform, InvertibleTransform):
    """A registration: it changes the affine alone, so that it never interpolates.

    Its inverse restores the affine. See `ScanTransform` for the arguments.

    Args:
        lazy: has no effect on the result, because nothing is resampled.
    """

    def __init__(self, keys: KeysCollection, lazy: bool = False, **kwargs: Any):
        ScanTransform.__init__(self, keys, **kwargs)
        LazyTransform.__init__(self, lazy)

    def move(self, data: Data, key: Hashable, matrix: np.ndarray, lazy: bool | None) -> None:
        """Give a scan, its mask and its label the world that a registration found.

        Args:
            data: changed.
            key: key of the scan.
            matrix: `(4, 4)`, new world to the present one, RAS mm.
            lazy: whether MONAI's pending operations wait.
        """
        for name in self.names(key, data):
            image = copied(data[name])
            waits = bool(image.pending_operations) or bool(self.lazy if lazy is None else lazy)
            self.push_transform(image, lazy=waits, extra_info={"matrix": matrix.tolist()})
            _set_world(image, np.linalg.inv(matrix))
            own = [] if _is_same(matrix) else [matrix_record(matrix)]
            set_records(image, [*own, *records(image)])
            data[name] = image

    def inverse(self, data: Mapping[Hashable, Any]) -> Data:
        """Restore the affine of each scan that was moved."""
        found = dict(data)
        for key in self.keys:
            for name in self.names(key, found):
                image = found[name] = copied(found[name])
                matrix = np.array(self.pop_transform(image)[TraceKeys.EXTRA_INFO]["matrix"])
                _set_world(image, matrix)
                set_records(image, records(image)[0 if _is_same(matrix) else 1 :])
        return found


def _is_same(matrix: np.ndarray) -> bool:
    return np.array_equal(matrix, np.eye(4))


def _set_world(image: MetaTensor, matrix: np.ndarray) -> None:
    image.affine = image.affine.new_tensor(matrix @ np.array(image.affine))

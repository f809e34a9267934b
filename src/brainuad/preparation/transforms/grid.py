"""The one interpolation of a preparation: to the atlas's grid, with a warp or without."""

import time
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data.meta_tensor import MetaTensor
from monai.transforms.inverse import InvertibleTransform
from monai.utils.enums import TraceKeys

from brainuad.machine.limits import require_memory
from brainuad.preparation.atlas import BrainAtlas, load_brain_atlas
from brainuad.preparation.grid_memory import VOXEL_BYTES, require_grid
from brainuad.preparation.quality import measures
from brainuad.preparation.register.demons import Deform, write_warp
from brainuad.preparation.shared_grid import SharedGrid
from brainuad.preparation.transforms.base import (
    KNOWN,
    Data,
    ScanTransform,
    copied,
    own_world,
    records,
    report,
    reported,
    set_records,
    to_file,
)
from brainuad.types import Volume
from brainuad.volumes.grids import Grid
from brainuad.volumes.meta_tensor import meta_tensor, volume_of
from brainuad.volumes.native_space import (
    to_native,
    to_prepared,
    warp_record,
    way_of,
)
from brainuad.volumes.regions import box_of
from brainuad.volumes.resample import resample_spacing, smoothed


class PreparedGridd(ScanTransform, InvertibleTransform):
    """Resample to the prepared grid: the atlas's brain with a margin, the same for all subjects.

    Images are smoothed before where the grid is coarser, so that nothing aliases. Masks and labels
    are 1 where at least half of a voxel is. A scan on the grid already stays as it is.

    Args:
        keys: scans in the world of the atlas, with brain masks.
        spacing_mm: edge length of the prepared voxels in mm.
        margin_mm: margin around the brain: no two brains have one size after an affine fit.
        space: `atlas`; or `reference` for the grid of the first scan's brain; or `own` for that of
            each scan's own.
        atlas_image: a brain-extracted template; None for MNI152.
        atlas_mask: brain mask of the template.
        shared: grids of keys whose scans share a space, with `own`.
        kwargs: see `ScanTransform`.
    """

    effects = ("the prepared grid: the interpolation, unless it is there", "linear")
    parameters: tuple[str, ...] = ("space", "spacing_mm", "margin_mm", "atlas_image")

    def __init__(
        self,
        keys: KeysCollection,
        spacing_mm: float = 1.0,
        margin_mm: float = 8.0,
        space: str = "atlas",
        atlas_image: Path | None = None,
        atlas_mask: Path | None = None,
        shared: Mapping[Hashable, SharedGrid] | None = None,
        **kwargs: Any,
    ):
        super().__init__(keys, **kwargs)
        if space not in ("atlas", "reference", "own"):
            raise ValueError(f"space is '{space}'; use atlas, reference or own")
        self.spacing_mm, self.margin_mm, self.space = spacing_mm, margin_mm, space
        self.atlas_image, self.atlas_mask = atlas_image, atlas_mask
        self.shared = dict(shared or {}) if space == "own" else {}
        if self.shared:
            self.space = "shared"

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Resample, and add the measures of the prepared scan to the report.

        Raises:
            InputError: the brain lies outside the grid, or the scan does not share its space.
        """
        found = dict(data)
        grid = atlas = None
        if self.space == "atlas":
            atlas = self._atlas()
            grid = self.grid_of(atlas.image, atlas.brain_mask)
        for key in self.key_iterator(found):
            with self.scan(found, key):
                inside = self.brain_mask(found, key)
                shared = self.shared.get(key)
                if shared is not None:
                    grid = self._shared_by(shared, found[key], inside)
                elif grid is None or self.space in ("own", "shared"):
                    grid = self.grid_of(volume_of(found[key]), inside)
                self.carry(found, key, grid, None)
                inside = self.brain_mask(found, key)
                if not inside.any():
                    raise ValueError(
                        "the brain came to lie outside the prepared grid; check its picture"
                    )
                image = volume_of(found[key]).array
                said = measures.measure_prepared(image, inside, atlas, grid)
                quality = report(found[key]).get("quality", {}) | said
                found[key] = reported(found[key], quality=quality)
        return found

    def _shared_by(self, shared: SharedGrid, image: MetaTensor, inside: np.ndarray) -> Volume:
        """The grid of scans that share a space, empty.

        Raises:
            ValueError: the scan is of another space.
            InputError: the grid does not fit into the memory at hand.
        """
        shape, affine = image.meta["native_shape"], image.meta["original_affine"]
        native = Grid(tuple(int(n) for n in shape), np.array(affine, dtype=float))
        brain = Volume(inside, volume_of(image).affine)
        shared.require(native, int(image.meta.get("world", 0)), brain)
        voxels = float(np.prod(shared.grid.shape))
        require_memory(
            VOXEL_BYTES * voxels, "the grid that the scans share", "choose larger voxels"
        )
        return Volume(np.zeros(shared.grid.shape, np.float32), shared.grid.affine)

    def grid_of(self, image: Volume, brain_mask: np.ndarray) -> Volume:
        """The grid around a brain, empty.

        Raises:
            InputError: it does not fit into the memory at hand.
        """
        edges = np.array(image.array.shape) * image.spacing_mm
        require_grid(edges, self.spacing_mm, self.margin_mm)
        share = resample_spacing(
            Volume(brain_mask.astype(np.float32), image.affine), self.spacing_mm
        )
        margin = int(np.ceil(self.margin_mm / self.spacing_mm))
        box = box_of(share.array >= 0.5)
        # A template may be cut close to its brain; another brain still needs the room.
        affine = share.affine.copy()
        affine[:3, 3] -= affine[:3, :3] @ np.full(3, margin)
        affine[:3, 3] += affine[:3, :3] @ [edge.start for edge in box]
        shape = [edge.stop - edge.start + 2 * margin for edge in box]
        return Volume(np.zeros(shape, np.float32), affine)

    def carry(self, data: Data, key: Hashable, grid: Volume, field: Path | None) -> None:
        """Resample a scan, its mask and its label, through the warp in `field` if there is one."""
        own = [] if field is None else [warp_record(field)]
        for name in self.names(key, data):
            image: MetaTensor = data[name]
            volume = volume_of(image)
            if _same_grid(volume, grid):
                data[name] = meta_tensor(volume.array, image)
                self.push_transform(data[name], extra_info={"way": None})
                continue
            # By the voxels of the file, whatever size a registration has made of them.
            smooth = smoothed(own_world(image), max(grid.spacing_mm))
            array = to_prepared(smooth, volume.affine, grid, way_of(own))
            if name != key:
                array = (array >= 0.5).astype(np.uint8)
            moved = meta_tensor(array, image)
            moved.affine = image.affine.new_tensor(grid.affine)
            moved.meta["spatial_shape"] = np.array(array.shape)
            set_records(moved, [*own, *records(image)])
            before = {"way": own, "affine": volume.affine.tolist(), "label": name != key}
            self.push_transform(moved, orig_size=volume.array.shape, extra_info=before)
            data[name] = moved

    def inverse(self, data: Mapping[Hashable, Any]) -> Data:
        """Resample back to the grid of before; masks and labels by the nearest neighbour."""
        found = dict(data)
        for key in self.keys:
            for name in self.names(key, found):
                image = found[name] = copied(found[name])
                said = self.pop_transform(image)
                before = said[TraceKeys.EXTRA_INFO]
                if before["way"] is None:
                    continue
                size = tuple(int(n) for n in said[TraceKeys.ORIG_SIZE])
                like = Volume(np.zeros(size, np.float32), np.array(before["affine"]))
                volume, way = volume_of(image), way_of(before["way"])
                order = 0 if before["label"] else 1
                array = to_native(volume.array, volume.affine, like, way, order)
                moved = meta_tensor(array if order else array.astype(volume.array.dtype), image)
                moved.affine = image.affine.new_tensor(like.affine)
                set_records(moved, records(image)[len(way) :])
                found[name] = moved
        return found

    def _atlas(self) -> BrainAtlas:
        return load_brain_atlas(self.atlas_image, self.atlas_mask)


class DeformToAtlasd(PreparedGridd):
    """Warp the reference, the first key that is there, to the atlas; the others go with it.

    The warp cannot wait for another interpolation, so this step resamples to the prepared grid.

    Args:
        keys: scans in the world of the atlas, with brain masks.
        by: `Deform()` when None.
        field_key: key of the start of the path that the warp is written to, its inverse beside
            it; `_<reference>_warp.nii.gz` follows.
        kwargs: see `PreparedGridd`.
    """

    effects = ("the prepared grid, through affine and warp: the interpolation", "linear")
    parameters = ("by", "spacing_mm", "margin_mm")

    REMEDY = "check that it shows a brain"

    def __init__(
        self,
        keys: KeysCollection,
        by: Deform | None = None,
        field_key: str = "warp",
        **kwargs: Any,
    ):
        super().__init__(keys, **kwargs)
        self.by, self.field_key = by or Deform(), field_key

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Warp.

        Raises:
            InputError: the reference cannot be warped.
        """
        found = dict(data)
        present = tuple(self.key_iterator(found))
        for reference in present[:1]:
            with self.scan(found, reference, present):
                started = time.perf_counter()
                atlas = self._atlas()
                moving = found[reference]
                path = Path(f"{found[self.field_key]}_{reference}_warp.nii.gz")
                if reference not in found.get(KNOWN, {}):
                    warp, said = self.by(atlas.image, own_world(moving), to_file(moving))
                    write_warp(path, warp)
                    said["seconds"] = round(time.perf_counter() - started, 1)
                    found[reference] = reported(moving, deform=said)
                grid = self.grid_of(atlas.image, atlas.brain_mask)
                for key in present:
                    self.carry(found, key, grid, path)
        return found


def _same_grid(volume: Volume, grid: Volume) -> bool:
    same = volume.array.shape == grid.array.shape
    return same and np.allclose(volume.affine, grid.affine, atol=1e-6)

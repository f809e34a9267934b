"""Post-processed maps on the prepared grid and in native space, each made once."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from nibabel.affines import apply_affine

from brainuad.cohorts.manifest import Scan
from brainuad.cohorts.map_folder import MapFolder
from brainuad.errors import InputError
from brainuad.evaluation.trust_checks import world_box
from brainuad.machine.files import atomic_path
from brainuad.postprocess.native import native_map
from brainuad.postprocess.pipeline import Postprocess
from brainuad.types import Volume, Way
from brainuad.volumes.grids import require_same_grid
from brainuad.volumes.native_space import native_points
from brainuad.volumes.nifti import read_volume

SPARE = 2**32
"""Smallest free space, in bytes, beside kept maps: the evaluation writes sorted scores there."""


class ScoreVolume(NamedTuple):
    """A post-processed map on one grid.

    Attributes:
        score: map that thresholds apply to; 0 outside the brain unless the background is cleared
            last (`Postprocess.masks_last`).
        brain_mask: `(D, H, W)` bool, on its grid.
        box: `(2, 3)` corners of the prepared brain in prepared world, mm.
        way: registrations from the prepared world to that of `score`; empty on the prepared grid.
    """

    score: Volume
    brain_mask: np.ndarray
    box: np.ndarray
    way: Way = ()

    def to_voxel(self, points: np.ndarray) -> np.ndarray:
        """Return points `(N, 3)` of the prepared world, mm, as voxels of `score`."""
        return apply_affine(np.linalg.inv(self.score.affine), native_points(points, self.way))


@dataclass(frozen=True)
class ScoreMaps:
    """The post-processed maps of a folder.

    Attributes:
        maps: raw maps on the prepared grid.
        postprocess: post-processing of the run.
        space: grid of the scores, `native` or `prepared`.
        kept: folder for the post-processed maps, which later steps of a run read again; None to
            make a map at each call.
    """

    maps: MapFolder
    postprocess: Postprocess
    space: str = "native"
    kept: Path | None = None

    def of(self, scan: Scan) -> ScoreVolume:
        """Return a scan's map in the space of the scores; see `prepared` and `native`."""
        return self.native(scan) if self.space == "native" else self.prepared(scan)

    def prepared(self, scan: Scan) -> ScoreVolume:
        """Return a scan's map on the prepared grid.

        Raises:
            InputError: an error of `postprocessed`.
        """

        def make() -> ScoreVolume:
            score, brain_mask = postprocessed(scan, self.maps, self.postprocess)
            return ScoreVolume(score, brain_mask, world_box(brain_mask, score.affine))

        return self._once(f"{scan.subject}_prepared.npz", (), make)

    def native(self, scan: Scan) -> ScoreVolume:
        """Return a scan's map in native space; on the prepared grid where the scan has no other.

        Raises:
            InputError: an error of `postprocessed` or `native_map`.
        """
        if scan.native_image is None:
            return self.prepared(scan)
        space = scan.space

        def make() -> ScoreVolume:
            score, brain_mask, box, _ = self.prepared(scan)
            found = native_map(score, brain_mask, space, masks_last=self.postprocess.masks_last)
            return ScoreVolume(*found, box, space.way)

        return self._once(f"{scan.subject}_native.npz", space.way, make)

    def _once(self, name: str, way: Way, make: Callable[[], ScoreVolume]) -> ScoreVolume:
        """Return the map of an earlier call; make and keep it where there is none."""
        if self.kept is None:
            return make()
        path = self.kept / name
        if path.is_file():
            return _read(path, way)
        found = make()
        # A full disk costs time, not scores.
        with suppress(OSError):
            if shutil.disk_usage(self.kept).free > SPARE:
                _write(path, found)
        return found


def postprocessed(
    scan: Scan, maps: MapFolder, postprocess: Postprocess, masked: bool = True
) -> tuple[Volume, np.ndarray]:
    """Return the post-processed map of a scan and its brain mask, on the prepared grid.

    Args:
        scan: scan of the map.
        maps: folder of its map.
        postprocess: post-processing of the run.
        masked: False treats the whole array as brain: steps may move scores across the rim, and
            those of the background stay.

    Raises:
        InputError: a missing or damaged file, two files of one subject, another grid, a negative
            score, or no brain.
    """
    raw, path = maps.map(scan.subject), maps.file(scan.subject)
    if raw.array.min() < 0 and not postprocess.takes_signed_maps:
        raise InputError(
            f"{path}: has negative scores; larger must mean more abnormal, from 0 up (or begin "
            "the post-processing with brainuad.postprocess.scale.Sign)"
        )
    brain = read_volume(scan.brain_mask)
    require_same_grid(path, raw, like=brain)
    brain_mask = brain.array > 0
    if not brain_mask.any():
        raise InputError(f"{scan.brain_mask}: the brain mask is empty; make it again")
    inside = brain_mask if masked else np.ones_like(brain_mask)
    score = postprocess.score(raw.array, inside, raw.spacing_mm)
    return Volume(score, raw.affine), brain_mask


def _write(path: Path, found: ScoreVolume) -> None:
    """Write the values that are not 0, usually those of the brain alone."""
    array, affine = found.score.array, found.score.affine
    filled = array != 0
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            values=array[filled],
            filled=np.packbits(filled),
            brain=np.packbits(found.brain_mask),
            shape=array.shape,
            affine=affine,
            box=found.box,
        )


def _read(path: Path, way: Way) -> ScoreVolume:
    with np.load(path, allow_pickle=False) as kept:
        shape = tuple(kept["shape"])
        filled, brain = (_unpacked(kept[name], shape) for name in ("filled", "brain"))
        score = np.zeros(shape, np.float32)
        score[filled] = kept["values"]
        return ScoreVolume(Volume(score, kept["affine"]), brain, kept["box"], way)


def _unpacked(bits: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).astype(bool)

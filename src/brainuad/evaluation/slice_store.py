"""Axial slices of scored maps: cut from a scan, resized, and kept in two files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import cc3d
import numpy as np
import torch
from torch.nn import functional

from brainuad.cohorts.manifest import Scan
from brainuad.cohorts.map_folder import MapFolder
from brainuad.errors import InputError
from brainuad.evaluation.score_maps import postprocessed
from brainuad.machine.refused import writing
from brainuad.metrics import voxel
from brainuad.postprocess.pipeline import Postprocess
from brainuad.types import Volume
from brainuad.volumes.nifti import read_label
from brainuad.volumes.tiling import SliceTiling

BLOCK = 2**24
"""Number of pixels sorted at a time: 16 million limit the memory and the number of files."""


class Slice(NamedTuple):
    """One axial slice of a scored map.

    Attributes:
        score: `(H, W)` float32.
        truth: `(H, W)` bool.
        brain: `(H, W)` bool.
        person: person of the slice.
        area: number of pixels with a lesion, before any resizing.
        sick: True where it has a lesion, or is the one slice of a scan that is not healthy.
        labelled: True where `truth` is known; False for a scan of one slice without a lesion mask.
    """

    score: np.ndarray
    truth: np.ndarray
    brain: np.ndarray
    person: str
    area: int
    sick: bool
    labelled: bool


class _Place(NamedTuple):
    start: int
    shape: tuple[int, int]
    person: str
    area: int
    sick: bool
    labelled: bool


@dataclass
class SliceStore:
    """Slices in two files of a folder, whatever their number.

    Args:
        path: start of the files' names.
    """

    path: Path
    _places: list[_Place] = field(default_factory=list)
    _end: int = 0

    def add(self, found: Sequence[Slice]) -> None:
        """Append slices.

        Raises:
            CannotWrite: no room for them.
        """
        with (
            writing(self._scores),
            self._scores.open("ab") as scores,
            self._flags.open("ab") as flags,
        ):
            for piece in found:
                scores.write(np.ascontiguousarray(piece.score, np.float32).tobytes())
                flags.write((piece.truth + 2 * piece.brain.astype(np.uint8)).tobytes())
                height, width = piece.score.shape
                self._places.append(_Place(self._end, (height, width), *piece[3:]))
                self._end += piece.score.size

    def __len__(self) -> int:
        """Return the number of slices."""
        return len(self._places)

    def __iter__(self) -> Iterator[Slice]:
        """Yield the slices in order; their arrays are views of the files."""
        if not self._places:
            return
        scores = np.memmap(self._scores, np.float32, "r")
        flags = np.memmap(self._flags, np.uint8, "r")
        for place in self._places:
            part = slice(place.start, place.start + place.shape[0] * place.shape[1])
            both = np.asarray(flags[part]).reshape(place.shape)
            score = np.asarray(scores[part]).reshape(place.shape)
            about = place.person, place.area, place.sick, place.labelled
            yield Slice(score, both & 1 > 0, both & 2 > 0, *about)

    @property
    def has_lesions(self) -> bool:
        """Return whether any slice has a lesion, before any resizing."""
        return any(place.area for place in self._places)

    def of_people(self) -> dict[str, "SliceStore"]:
        """Return the slices of each person, in the same files."""
        found: dict[str, list[_Place]] = {}
        for place in self._places:
            found.setdefault(place.person, []).append(place)
        return {name: SliceStore(self.path, places, self._end) for name, places in found.items()}

    def largest(self) -> "SliceStore":
        """Return each person's slice with the largest lesion, in the same files."""
        best: dict[str, _Place] = {}
        for place in self._places:
            if place.area and place.area > getattr(best.get(place.person), "area", 0):
                best[place.person] = place
        return SliceStore(self.path, list(best.values()), self._end)

    def labelled(self) -> "SliceStore":
        """Return the slices whose truth is known, in the same files."""
        places = [place for place in self._places if place.labelled]
        return SliceStore(self.path, places, self._end)

    @property
    def _scores(self) -> Path:
        return self.path.with_name(f"{self.path.name}.scores")

    @property
    def _flags(self) -> Path:
        return self.path.with_name(f"{self.path.name}.flags")


def cut(scan: Scan, maps: MapFolder, postprocess: Postprocess, masked: bool = True) -> list[Slice]:
    """Return the axial slices with brain of a post-processed map, on the prepared grid.

    Args:
        scan: a volume, or a slice as a volume of one plane.
        maps: folder of its map.
        postprocess: post-processing of the run; its map steps are used.
        masked: False keeps the background, see `postprocessed`.

    Raises:
        InputError: an error of `postprocessed`, or a volume with lesions and without a label.
    """
    score, brain = postprocessed(scan, maps, postprocess, masked)
    if masked:
        # With `masks_last` the background is still there.
        score = Volume(np.where(brain, score.array, 0), score.affine)
    one = score.array.shape[-1] == 1
    label = scan.lesion_mask
    if not scan.healthy and label is None and not one:
        raise InputError(f"{scan.image}: pathological without a lesion mask; add it to score it")
    truth = read_label(label, like=score) if label else np.zeros(score.array.shape, bool)
    person = getattr(scan, "person", "") or scan.subject
    slices = []
    for index in np.flatnonzero(brain.any(axis=(0, 1))):
        here = truth[..., index]
        area = int(np.count_nonzero(here))
        slices.append(
            Slice(
                score.array[..., index].astype(np.float32),
                here,
                brain[..., index],
                person,
                area,
                sick=area > 0 or (one and not scan.healthy),
                labelled=label is not None or scan.healthy,
            )
        )
    return slices


def large_enough(slices: list[Slice], min_brain: float) -> list[Slice]:
    """Return the slices with at least a share of the brain of the scan's largest slice."""
    areas = np.array([np.count_nonzero(piece.brain) for piece in slices])
    most = areas.max(initial=0)
    return [piece for piece, area in zip(slices, areas, strict=True) if area >= min_brain * most]


def framed(slices: list[Slice], size: tuple[int, int] | None) -> list[Slice]:
    """Return the slices of one scan padded to a square and resized; None for no change.

    Maps are resized bilinearly, masks by nearest neighbour.
    """
    if size is None or not slices:
        return slices
    arrays = np.stack([np.stack([s.score, s.truth, s.brain]) for s in slices], axis=-1)
    # Padded to a square first: resizing must not change the brain's proportions.
    side = max(arrays.shape[1:3])
    tiles = SliceTiling("axial", (side, side)).split(torch.from_numpy(arrays.astype(np.float32)))[0]
    smooth = functional.interpolate(tiles[:, :1], size, mode="bilinear")[:, 0].numpy()
    sharp = functional.interpolate(tiles[:, 1:], size, mode="nearest").numpy() > 0.5
    return [
        piece._replace(score=score, truth=masks[0], brain=masks[1])
        for piece, score, masks in zip(slices, smooth, sharp, strict=True)
    ]


def regions(store: SliceStore) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of the lesions' pixels `(P,)`, and the number of each one's component.

    Components have 8 neighbours and lie in one slice.
    """
    scores, numbers, last = [np.zeros(0, np.float32)], [np.zeros(0, np.int64)], 0
    for piece in store:
        if piece.truth.any():
            labels, count = cc3d.connected_components(piece.truth, connectivity=8, return_N=True)
            scores.append(piece.score[piece.truth])
            numbers.append(labels[piece.truth].astype(np.int64) + last)
            last += count
    return np.concatenate(scores), np.concatenate(numbers)


def sorted_blocks(
    store: SliceStore, path: Path, brain_only: bool = False
) -> list[voxel.SortedScores]:
    """Return the pixels of all labelled slices, sorted in blocks, the large part of each on disk.

    Args:
        store: the slices.
        path: start of the names of the files to write.
        brain_only: True leaves out the background; a lesion there counts as missed.
    """
    blocks: list[voxel.SortedScores] = []
    scores: list[np.ndarray] = []
    truths: list[np.ndarray] = []
    missed = pixels = 0

    def close() -> None:
        nonlocal missed, pixels
        if scores:
            found = voxel.sort_scores(np.concatenate(scores), np.concatenate(truths), missed)
            file = path.with_name(f"{path.name}{len(blocks)}.npy")
            with writing(file):
                blocks.append(found.on_disk(file))
        scores.clear()
        truths.clear()
        missed = pixels = 0

    for piece in store.labelled():
        inside = piece.brain if brain_only else np.ones_like(piece.brain)
        scores.append(piece.score[inside])
        truths.append(piece.truth[inside])
        missed += int(np.count_nonzero(piece.truth & ~inside))
        pixels += scores[-1].size
        if pixels >= BLOCK:
            close()
    close()
    return blocks

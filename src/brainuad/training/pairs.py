"""Training steps of two scans that are each other's donor, for foreign patch interpolation."""

import math
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import torch

from brainuad.errors import InputError
from brainuad.tiles.cache import Key
from brainuad.training.batches import EpochBatches


class PairBatches(EpochBatches):
    """Steps of one scan's tiles, followed by as many donors from the same places of another scan.

    As in FPI's code (`fpiSubmit.py:147-154`): the scans of an epoch are taken two by two, and a
    scan without a partner is left out of this epoch. Steps of the first scan with donors of the
    second alternate with steps of the second with donors of the first. Where both scans have the
    same places, two consecutive steps use the same ones. Where a scan lacks a tile's place, its
    nearest tile is the donor.

    Every scan makes the same number of steps, as many as the largest needs; smaller scans have
    smaller steps.

    Args:
        per_scan: number of tiles of each scan; tiles are numbered scan after scan.
        places: place of each tile, `(N, k)` int, from `Tiling.split`: an axial slice's height
            first.
        batch_size: number of tiles per step and rank, without their donors.
        ranks: number of processes.
        rank: number of this process.
        shuffle: True shuffles scans and tiles in each epoch.
        seed: seed of the order, together with the epoch.

    Raises:
        InputError: fewer than two scans.
    """

    def __init__(
        self,
        per_scan: Sequence[int],
        places: np.ndarray,
        batch_size: int,
        ranks: int = 1,
        rank: int = 0,
        shuffle: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(len(places), batch_size, ranks, rank, shuffle, seed)
        split = np.split(np.arange(len(places)), np.cumsum(per_scan)[:-1])
        self.scans = [tiles for tiles in split if len(tiles)]
        self.places = places
        self.number = math.ceil(max(per_scan) / (batch_size * ranks))
        """Steps of each scan in an epoch."""
        if len(self.scans) < 2:
            raise InputError(
                "donors from the same height of another scan need two scans to train on and two to "
                "validate on; add subjects, or set model.donors_by_height=false"
            )

    def __len__(self) -> int:
        return 2 * (len(self.scans) // 2) * self.number

    def __iter__(self) -> Iterator[list[Key]]:
        """Yield the (epoch, index) of this rank's share of each step, tiles before donors."""
        for tiles, donors in islice(self._steps(), self.start, None):
            own = [part[self.rank :: self.ranks] for part in (tiles, donors)]
            yield [(self.epoch, index) for index in np.concatenate(own).tolist()]

    def _steps(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        scans = [self.scans[i] for i in self._order(len(self.scans), generator)]
        for first, second in zip(scans[::2], scans[1::2], strict=False):
            order = self._order(max(len(first), len(second)), generator)
            parts = [
                self._parts(own[order[order < len(own)]], other)
                for own, other in ((first, second), (second, first))
            ]
            for both in zip(*parts, strict=True):
                yield from both

    def _order(self, count: int, generator: torch.Generator) -> np.ndarray:
        if self.shuffle:
            return torch.randperm(count, generator=generator).numpy()
        return np.arange(count)

    def _parts(self, tiles: np.ndarray, other: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the steps of a scan; its tiles are repeated where a rank would have none."""
        least = self.number * self.ranks
        tiles = np.tile(tiles, max(1, math.ceil(least / len(tiles))))
        away = np.abs(self.places[tiles][:, None] - self.places[other][None]).sum(2)
        parts = (np.array_split(x, self.number) for x in (tiles, other[away.argmin(1)]))
        return list(zip(*parts, strict=True))

"""Which samples make a step, on one device or many, from the beginning or from the middle."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from brainuad.errors import InputError
from brainuad.tiles.cache import Key


def drawn_slices(
    per_scan: Sequence[int], count: int, replace: bool, seed: int, epoch: int
) -> list[int]:
    """The samples of an epoch, where so many of every scan are drawn anew in each, uniformly.

    Args:
        per_scan: samples of each scan; they are numbered scan after scan.
        count: drawn of each scan; all of a scan that has fewer, unless `replace`.
        replace: draw with replacement.
        seed: random seed of the draws, together with the epoch.
        epoch: from 0.
    """
    words = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)
    generator = torch.Generator().manual_seed(int(words[0] >> 1))
    drawn: list[int] = []
    first = 0
    for own in per_scan:
        if replace and own:
            chosen = torch.randint(own, (count,), generator=generator)
        else:
            chosen = torch.randperm(own, generator=generator)[:count]
        drawn += (first + chosen).tolist()
        first += own
    return drawn


class EpochBatches(Sampler[list[Key]]):
    """Deals an epoch's samples to steps and ranks: each is in one step of one rank.

    A step's samples are the same for any number of ranks with the same batch in all. Every rank
    has the same number of steps, because the others would wait for it; in the last one, and in the
    one before where the rest is less than a sample a rank, shares differ by one at most.

    Args:
        count: samples of an epoch.
        batch_size: samples per rank and step.
        ranks: processes that train together.
        rank: this one.
        shuffle: anew in each epoch.
        seed: random seed of the order, together with the epoch.
        drawn: from an epoch to its samples, `count` of them; None for 0 to `count` - 1.

    Raises:
        InputError: fewer samples than ranks.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        ranks: int = 1,
        rank: int = 0,
        shuffle: bool = False,
        seed: int = 0,
        drawn: Callable[[int], list[int]] | None = None,
    ) -> None:
        if count < ranks:
            raise InputError(f"{count} tiles for {ranks} devices; use fewer (trainer.devices)")
        self.count = count
        self.batch_size = batch_size
        self.ranks = ranks
        self.rank = rank
        self.shuffle = shuffle
        self.seed = seed
        self.drawn = drawn
        self.epoch = 0
        self.start = 0
        """Steps of the epoch that are left out, because they were done before an interruption."""

    @property
    def sampler(self) -> "EpochBatches":
        """Lightning tells the epoch to the batch sampler's sampler."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Told by Lightning when an epoch begins."""
        self.epoch = epoch

    def __len__(self) -> int:
        # Of single samples a rank, a rest that is not one for every rank goes into the step before.
        return min(math.ceil(self.count / (self.batch_size * self.ranks)), self.count // self.ranks)

    def __iter__(self) -> Iterator[list[Key]]:
        """Yields the (epoch, index) of this rank's share of each step."""
        order = list(range(self.count)) if self.drawn is None else self.drawn(self.epoch)
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed + self.epoch)
            shuffled = torch.randperm(self.count, generator=generator)
            order = [order[i] for i in shuffled.tolist()]
        whole = self.batch_size * self.ranks
        ends = list(range(whole, self.count, whole))[: len(self) - 1]
        if ends:
            # The last step has one sample a rank at least.
            ends[-1] = min(ends[-1], self.count - self.ranks)
        starts = [0, *ends][self.start :]
        for begin, end in zip(starts, [*ends, self.count][self.start :], strict=True):
            yield [(self.epoch, index) for index in order[begin:end][self.rank :: self.ranks]]


class EpochLoader(DataLoader[Any]):
    """Goes on in the middle of an epoch, where a checkpoint was saved; Lightning keeps its state.

    Args:
        dataset: indexed by `Key`.
        batches: batches of this rank.
        num_workers: loader processes.
    """

    def __init__(self, dataset: Dataset[Any], batches: EpochBatches, num_workers: int = 0) -> None:
        super().__init__(
            dataset,
            batch_sampler=batches,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
        )
        self.batches = batches
        self._handed_out = 0
        self._resume = (-1, 0)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Batches from where the epoch was left.

        A generator, so that workers start when the first batch is asked for: Lightning tells the
        epoch after it has asked for the iterator.
        """
        epoch, done = self._resume
        self.batches.start = done if epoch == self.batches.epoch else 0
        self._handed_out = self.batches.start
        for batch in super().__iter__():
            self._handed_out += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The epoch and how many of its batches were handed out."""
        return {"epoch": self.batches.epoch, "batches": self._handed_out}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """The same epoch goes on behind those batches; any other one starts at its beginning."""
        self._resume = (state_dict["epoch"], state_dict["batches"])

"""Samples of each training step, on one device or many, also when an epoch is resumed."""

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
    """Return the samples of an epoch, drawn uniformly from each scan.

    Args:
        per_scan: number of samples of each scan; samples are numbered scan after scan.
        count: number of samples drawn per scan; all of a scan with fewer, unless `replace`.
        replace: True draws with replacement.
        seed: seed of the draws, together with the epoch.
        epoch: number of the epoch, from 0.
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
    """Distribution of an epoch's samples to steps and ranks: each is in one step of one rank.

    A step's samples are the same for any number of ranks with the same total batch. Every rank has
    the same number of steps, because ranks wait for one another. Shares differ by at most one, in
    the last step, or in the one before where fewer samples than ranks remain.

    Args:
        count: number of samples per epoch.
        batch_size: number of samples per step and rank.
        ranks: number of processes.
        rank: number of this process.
        shuffle: True shuffles in each epoch.
        seed: seed of the order, together with the epoch.
        drawn: returns the `count` samples of an epoch; None for 0 to `count` - 1.

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
        """Number of the epoch's steps that were done before an interruption."""

    @property
    def sampler(self) -> "EpochBatches":
        """The sampler whose `set_epoch` Lightning calls."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; Lightning calls this when one begins."""
        self.epoch = epoch

    def __len__(self) -> int:
        # With one sample per rank, a rest of fewer samples than ranks joins the step before.
        return min(math.ceil(self.count / (self.batch_size * self.ranks)), self.count // self.ranks)

    def __iter__(self) -> Iterator[list[Key]]:
        """Yield the (epoch, index) of this rank's share of each step."""
        order = list(range(self.count)) if self.drawn is None else self.drawn(self.epoch)
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed + self.epoch)
            shuffled = torch.randperm(self.count, generator=generator)
            order = [order[i] for i in shuffled.tolist()]
        whole = self.batch_size * self.ranks
        ends = list(range(whole, self.count, whole))[: len(self) - 1]
        if ends:
            # The last step has at least one sample per rank.
            ends[-1] = min(ends[-1], self.count - self.ranks)
        starts = [0, *ends][self.start :]
        for begin, end in zip(starts, [*ends, self.count][self.start :], strict=True):
            yield [(self.epoch, index) for index in order[begin:end][self.rank :: self.ranks]]


class EpochLoader(DataLoader[Any]):
    """Loader that resumes in the middle of an epoch; Lightning keeps its state in checkpoints.

    Args:
        dataset: dataset indexed by `Key`.
        batches: batches of this rank.
        num_workers: number of loader processes.
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
        """Yield batches from where the epoch was left.

        A generator starts the workers at the first batch: Lightning sets the epoch after it has
        asked for the iterator.
        """
        epoch, done = self._resume
        self.batches.start = done if epoch == self.batches.epoch else 0
        self._handed_out = self.batches.start
        for batch in super().__iter__():
            self._handed_out += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return the epoch and the number of its batches so far."""
        return {"epoch": self.batches.epoch, "batches": self._handed_out}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Resume this epoch after the batches already seen; start others from their beginning."""
        self._resume = (state_dict["epoch"], state_dict["batches"])

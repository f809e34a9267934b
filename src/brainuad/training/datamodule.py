"""Healthy training and validation tiles as a Lightning data module."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lightning import LightningDataModule
from torch.utils.data import Dataset

from brainuad.cohorts.manifest import Cohort
from brainuad.errors import InputError
from brainuad.machine.failures import Failures
from brainuad.tiles.augment import Augmentation
from brainuad.tiles.cache import TileDataset, build_cache
from brainuad.training.batches import EpochBatches, EpochLoader, drawn_slices
from brainuad.training.pairs import PairBatches
from brainuad.volumes.grids import Grid
from brainuad.volumes.tiling import Tiling


class HealthyDataModule(LightningDataModule):
    """Tiles of the healthy `train` and `val` scans of one sequence, or of several as channels.

    Args:
        cohort: cohort of the scans.
        sequence: `T1w`, `T2w`, `FLAIR`, …; several are the channels of a tile.
        tiling: cuts scans into tiles.
        cache_dir: folder for the memory-mapped tiles.
        batch_size: number of tiles per batch and device.
        num_workers: number of loader processes; the results do not depend on it.
        augment: augmentation of the training tiles; None for none.
        seed: seed of order and augmentation.
        min_brain_fraction: smallest share of brain in a training tile; 0 includes empty tiles.
        heights: range of the brain's height whose axial slices are used, 0 at its lowest slice, 1
            at its highest one; None for all.
        slices_per_volume: number of training tiles drawn uniformly from each scan in each epoch,
            by seed and epoch alone; None uses every tile once.
        replace: True draws them with replacement; a tile drawn twice in an epoch is augmented
            equally.

    Raises:
        InputError: the augmentation flips another axis than left to right, or
            `slices_per_volume` is below 1.
    """

    def __init__(
        self,
        cohort: Cohort,
        sequence: str | Sequence[str],
        tiling: Tiling,
        cache_dir: Path,
        batch_size: int = 32,
        num_workers: int = 0,
        augment: Augmentation | None = None,
        seed: int = 0,
        min_brain_fraction: float = 0.05,
        heights: Sequence[float] | None = None,
        slices_per_volume: int | None = None,
        replace: bool = False,
    ) -> None:
        super().__init__()
        if slices_per_volume is not None and slices_per_volume < 1:
            raise InputError(
                f"datamodule.slices_per_volume is {slices_per_volume}; use 1 or more, or null"
            )
        flip_axis = getattr(augment, "flip_axis", None)
        if flip_axis is not None and flip_axis != tiling.left_right_axis:
            raise InputError(
                f"augment.flip_axis is {flip_axis}, which is not left to right in these "
                "slices; set datamodule.augment.flip_axis=null"
            )
        self.scans = {
            split: cohort.select(split, sequence, healthy=True) for split in ("train", "val")
        }
        self.tiling = tiling
        self.cache_dir = Path(cache_dir)
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.augment = augment
        self.seed = seed
        self.min_brain_fraction = min_brain_fraction
        self.heights = None if heights is None else tuple(heights)
        self.slices_per_volume = slices_per_volume
        self.replace = replace
        self.training_set: Callable[[TileDataset, Path], Dataset[Any]] | None = None
        """Function that replaces the training tiles, such as by encodings; None for none."""
        self.pairs = False
        """True if steps use two scans as each other's donor (`PairBatches`)."""
        self.grid: Grid | None = None
        """Common grid of all scans, for methods that depend on the position; None for none."""
        self.failures = Failures()
        self.folders: dict[str, Path] = {}

    def setup(self, stage: str | None = None) -> None:
        """Make or find the tile caches; unreadable scans are listed in `failures`.

        Raises:
            InputError: a split has no usable tile.
        """
        for split, scans in self.scans.items():
            if split not in self.folders:
                self.folders[split], failures = build_cache(
                    *(scans, self.tiling, self.cache_dir / "tiles"),
                    min_brain_fraction=self.min_brain_fraction,
                    heights=self.heights,
                    grid=self.grid,
                )
                self.failures += failures

    def train_dataloader(self) -> EpochLoader:
        """Return shuffled, augmented training tiles."""
        return self._loader("train", self.augment, shuffle=True, made=True)

    def measuring_dataloader(self) -> EpochLoader:
        """Return training tiles in order without augmentation, for `AnomalyDetector.measure`."""
        return self._loader("train", None, shuffle=False)

    def val_dataloader(self) -> EpochLoader:
        """Return validation tiles in order without augmentation."""
        return self._loader("val", None, shuffle=False, made=True)

    @property
    def world_and_rank(self) -> tuple[int, int]:
        """Number of processes, and the number of this one."""
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)

    def _loader(
        self, split: str, augment: Augmentation | None, shuffle: bool, made: bool = False
    ) -> EpochLoader:
        tiles = TileDataset(self.folders[split], augment, self.seed)
        dataset: Dataset[Any] = tiles
        if made and self.training_set is not None:
            dataset = self.training_set(tiles, self.cache_dir)
        world, rank = self.world_and_rank
        if made and self.pairs:
            if self.slices_per_volume is not None:
                raise InputError(
                    "datamodule.slices_per_volume draws no pairs; set it to null, or "
                    "model.donors_by_height=false"
                )
            dealt = (tiles.per_scan, tiles.places, self.batch_size, world, rank, shuffle, self.seed)
            return EpochLoader(dataset, PairBatches(*dealt), self.num_workers)
        count, drawn = len(tiles), None
        if shuffle and self.slices_per_volume is not None:
            drawn = partial(
                drawn_slices, tiles.per_scan, self.slices_per_volume, self.replace, self.seed
            )
            count = len(drawn(0))
        batches = EpochBatches(count, self.batch_size, world, rank, shuffle, self.seed, drawn)
        return EpochLoader(dataset, batches, self.num_workers)

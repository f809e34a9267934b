"""Healthy training and validation tiles as a Lightning data module."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lightning import LightningDataModule
from torch.utils.data import Dataset

from brainuad.cohorts.manifest import Cohort
from brainuad.errors import InputError
from brainuad.tiles.augment import Augment, MonaiAugment
from brainuad.tiles.cache import TileDataset, build_cache
from brainuad.training.batches import EpochBatches, EpochLoader
from brainuad.training.pairs import PairBatches
from brainuad.volumes.tiling import Tiling


class HealthyDataModule(LightningDataModule):
    """Tiles of the healthy `train` and `val` scans of one sequence, or of several as channels.

    Args:
        cohort: where the scans are.
        sequence: `T1w`, `T2w`, `FLAIR`, …; several are the channels of a tile.
        tiling: how the method wants its input cut.
        cache_dir: folder for the memory-mapped tiles.
        batch_size: tiles a batch and device.
        num_workers: loader processes; the results do not depend on it.
        augment: changes of the training tiles; None for none.
        seed: of order and augmentation.
        min_brain_fraction: smallest share of brain in a tile that is trained on.

    Raises:
        InputError: the augmentation mirrors another axis than left to right.
    """

    def __init__(
        self,
        cohort: Cohort,
        sequence: str | Sequence[str],
        tiling: Tiling,
        cache_dir: Path,
        batch_size: int = 32,
        num_workers: int = 0,
        augment: Augment | MonaiAugment | None = None,
        seed: int = 0,
        min_brain_fraction: float = 0.05,
    ) -> None:
        super().__init__()
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
        self.training_set: Callable[[TileDataset, Path], Dataset[Any]] | None = None
        """What a method makes of the tiles before it trains on them; None for the tiles."""
        self.pairs = False
        """Whether steps are of two scans that are each other's donor (`PairBatches`)."""
        self.failures: list[tuple[str, str]] = []
        self.folders: dict[str, Path] = {}

    def setup(self, stage: str | None = None) -> None:
        """Makes or finds the tile caches; unreadable scans are listed in `failures`.

        Raises:
            InputError: a split has no usable tile.
        """
        for split, scans in self.scans.items():
            if split not in self.folders:
                self.folders[split], failures = build_cache(
                    scans, self.tiling, self.cache_dir / "tiles", self.min_brain_fraction
                )
                self.failures += failures

    def train_dataloader(self) -> EpochLoader:
        """Shuffled, augmented training tiles."""
        return self._loader("train", self.augment, shuffle=True, made=True)

    def measuring_dataloader(self) -> EpochLoader:
        """Training tiles in order, as they are, for `AnomalyDetector.measure`."""
        return self._loader("train", None, shuffle=False)

    def val_dataloader(self) -> EpochLoader:
        """Validation tiles in order, as they are."""
        return self._loader("val", None, shuffle=False, made=True)

    def _loader(
        self, split: str, augment: Augment | MonaiAugment | None, shuffle: bool, made: bool = False
    ) -> EpochLoader:
        tiles = TileDataset(self.folders[split], augment, self.seed)
        dataset: Dataset[Any] = tiles
        if made and self.training_set is not None:
            dataset = self.training_set(tiles, self.cache_dir)
        world, rank = (
            (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
        )
        if made and self.pairs:
            dealt = (tiles.per_scan, tiles.places, self.batch_size, world, rank, shuffle, self.seed)
            return EpochLoader(dataset, PairBatches(*dealt), self.num_workers)
        batches = EpochBatches(len(dataset), self.batch_size, world, rank, shuffle, self.seed)  # type: ignore[arg-type]
        return EpochLoader(dataset, batches, self.num_workers)

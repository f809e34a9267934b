"""Synthetic scans with lesions as a Lightning data module; new ones in every epoch."""

from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from brainuad.cohorts.manifest import joined
from brainuad.synthetic.anatomies.backgrounds import make_backgrounds
from brainuad.synthetic.anatomies.cohort import given_bank, require_known, split_names
from brainuad.synthetic.anatomies.lesions import LesionSettings
from brainuad.synthetic.anatomies.scan import ScanGenerator
from brainuad.synthetic.anatomies.stream import ScanStream, StreamedScan
from brainuad.training.batches import EpochBatches, EpochLoader
from brainuad.training.datamodule import HealthyDataModule


class SyntheticDataModule(HealthyDataModule):
    """Synthetic scans of a bank's anatomies; validation uses anatomies that are not trained on.

    The cohort gives the grid, and is used after the training.

    Args:
        bank: folder that `python -m data_prep anatomies` made.
        scans: number of scans per epoch.
        val_scans: number of validation scans, the same in every epoch.
        per_anatomy: number of scans per drawn anatomy.
        real_shapes: probability that a lesion has the shape of a real one, where the bank has any;
            0 for a training without labels of patients.
        backgrounds: folder of a prepared healthy cohort whose scans are further anatomies, split by
            split; None for none.
        backgrounds_share: probability that an anatomy is one of these.
        rest: further arguments of `HealthyDataModule`.

    Raises:
        ValueError: `real_shapes` or `backgrounds_share` is no probability.
        InputError: no such bank, a sequence that is not synthesised, several sequences, or
            backgrounds that cannot be used.
    """

    def __init__(
        self,
        *,
        bank: Path | None,
        scans: int = 200,
        val_scans: int = 12,
        per_anatomy: int = 4,
        real_shapes: float = LesionSettings.real,
        backgrounds: Path | None = None,
        backgrounds_share: float = ScanGenerator.backgrounds_share,
        **rest: Any,
    ) -> None:
        super().__init__(**rest)
        sequence = joined(rest["sequence"])
        require_known([sequence])
        found = given_bank(bank)
        for name, value in (("real_shapes", real_shapes), ("backgrounds_share", backgrounds_share)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; use a probability, 0 to 1")
        lesions = LesionSettings(real=real_shapes)
        of_train, of_val, _ = split_names(found.names)

        def generator(names: list[str], split: str) -> ScanGenerator:
            real = None
            if backgrounds is not None:
                # From the training anatomies: the mean of two validation anatomies would leave
                # most places without a class.
                real = make_backgrounds(
                    backgrounds, found, of_train, sequence, split, self.cache_dir
                )
            return ScanGenerator(
                found,
                names,
                lesions=lesions,
                backgrounds=real,
                backgrounds_share=backgrounds_share,
            )

        train, val = generator(of_train, "train"), generator(of_val, "val")
        self.stream = ScanStream(train, [sequence], scans, per_anatomy, self.seed)
        self.val_stream = _Same(ScanStream(val, [sequence], val_scans, 2, self.seed + 1))

    def train_dataloader(self) -> EpochLoader:
        """Return the training scans in the order of their draws: neighbours share an anatomy."""
        return self._drawn(self.stream, self.num_workers)

    def val_dataloader(self) -> EpochLoader:
        """Return the validation scans."""
        return self._drawn(self.val_stream, 0)

    def _drawn(self, dataset: "ScanStream | _Same", workers: int) -> EpochLoader:
        batches = EpochBatches(len(dataset), self.batch_size, *self.world_and_rank)
        return EpochLoader(dataset, batches, workers)


class _Same(Dataset[StreamedScan]):
    """The scans of epoch 0 in every epoch, kept in memory.

    Args:
        stream: source of the scans.
    """

    def __init__(self, stream: ScanStream) -> None:
        self.stream = stream
        self._kept: dict[int, StreamedScan] = {}

    def __len__(self) -> int:
        return len(self.stream)

    def __getitem__(self, key: tuple[int, int]) -> StreamedScan:
        index = key[1]
        if index not in self._kept:
            self._kept[index] = self.stream[0, index]
        return self._kept[index]

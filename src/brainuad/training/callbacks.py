"""Callbacks of a training: seeds, record of the losses, memory layout, averages, compilation."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from brainuad.machine.files import write_text
from brainuad.networks.memory_layout import fastest_layout
from brainuad.training.module import DetectorModule


class StepSeed(Callback):
    """Seeds every batch by (seed, number of the batch, rank).

    A resumed run thus draws the same noise, dropout and masks as an uninterrupted one, without a
    saved random state.

    Args:
        seed: seed of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed torch on all devices."""
        words = np.random.SeedSequence(
            [self.seed, trainer.fit_loop.total_batch_idx, trainer.global_rank]
        )
        torch.manual_seed(int(words.generate_state(1, np.uint64)[0] >> 1))


class History(Callback):
    """Writes `metrics.csv`, one row per epoch, and keeps it in checkpoints.

    Args:
        folder: run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path = Path(folder) / "metrics.csv"
        self.rows: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the epoch's means, and rewrite the file atomically."""
        row = {"epoch": float(trainer.current_epoch), "step": float(trainer.global_step)}
        row |= {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.rows.append(row)
        if trainer.is_global_zero:
            names = list(dict.fromkeys(name for row in self.rows for name in row))
            text = io.StringIO()
            writer = csv.DictWriter(text, names, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)
            write_text(self.path, text.getvalue())

    def state_dict(self) -> dict[str, Any]:
        """Return the rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the rows of a checkpoint."""
        self.rows = list(state_dict["rows"])


class MemoryLayout(Callback):
    """Trains in the fastest memory layout; `Model.on_device` scores in it."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Convert the weights before DDP makes its buckets; later the sums would be wrong."""
        assert isinstance(pl_module, DetectorModule)
        fastest_layout(pl_module.detector, trainer.strategy.root_device.type)


class EMA(WeightAveraging):
    """Exponential moving average of the weights, which is validated and kept.

    After step n = 0, 1, … the average becomes a + (1 - d) (w - a), where d is `decay` or, while
    that is less, (1 + n) / (10 + n), so that a short training does not keep its first weights. The
    first average is the weights after step 0. Constant values, such as a frozen first stage, stay
    equal bit for bit.

    Args:
        decay: decay of the average, in [0, 1).
        warm_up: False uses `decay` from the start.
    """

    def __init__(self, decay: float = 0.999, warm_up: bool = True) -> None:
        def average(before: Tensor, now: Tensor, count: Tensor | int) -> Tensor:
            steps = torch.as_tensor(count)
            d = torch.clamp((1 + steps) / (10 + steps), max=decay) if warm_up else decay
            return torch.lerp(before, now, torch.as_tensor(1 - d).to(before))

        # Statistics of a batch normalisation are averages themselves.
        super().__init__(use_buffers=False, avg_fn=average)


class Compile(Callback):
    """Compiles the trained networks by `torch.compile` during the training.

    Weights and their names stay as they are.

    Args:
        backend: backend of torch.compile.
    """

    def __init__(self, backend: str = "inductor") -> None:
        self.backend = backend
        self._compiled: list[tuple[torch.nn.Module, str]] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put compiled functions in front of the networks' own."""
        assert isinstance(pl_module, DetectorModule)
        for network in pl_module.detector.children():
            if any(parameter.requires_grad for parameter in network.parameters()):
                for name in pl_module.detector.traits.compiled:
                    if hasattr(network, name):
                        compiled = torch.compile(getattr(network, name), backend=self.backend)
                        setattr(network, name, compiled)
                        self._compiled.append((network, name))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remove the compiled methods."""
        for network, name in self._compiled:
            delattr(network, name)
        self._compiled = []

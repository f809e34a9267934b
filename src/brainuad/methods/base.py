"""What every method is: a module that scores images, and gives the loss that it learns by."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import Dataset

from brainuad.cohorts.manifest import Scan
from brainuad.methods.parts.grid_buffers import GridBuffers
from brainuad.methods.parts.residuals import Features, Residual, bind
from brainuad.tiles.cache import TileDataset
from brainuad.types import Batch, Detection
from brainuad.volumes.grids import Grid
from brainuad.volumes.tiling import Tiling

OptimizerFactory = Callable[[Iterable[Any]], Optimizer]
SchedulerFactory = Callable[[Optimizer], Any]


class AnomalyDetector(nn.Module, ABC):
    """Learns healthy brains, scores images.

    A method overrides `loss` (when it learns) and `score`; `detect` gives the contract's
    guarantees once for all of them. `brainuad.training.module` trains it.

    Args:
        optimizer: factory from parameters to an optimiser; None for methods without learning.
        scheduler: factory from the optimiser to a per-epoch schedule; None for a constant rate.
    """

    _place: Tensor
    own_threshold: float | None = None
    """Of the scores, where a method has a natural one (a probability of 0.5): what is above it is
    abnormal. Fitted to nothing."""

    def __init__(
        self, optimizer: OptimizerFactory | None = None, scheduler: SchedulerFactory | None = None
    ) -> None:
        super().__init__()
        self.optimizer_factory = optimizer
        self.scheduler_factory = scheduler
        self.card: dict[str, Any] = {}
        """What travels in every checkpoint: plain values only, see `brainuad.model.checkpoint`."""
        self.grid: Grid | None = None
        """Grid of the training scans, for methods that know places."""
        self.keeps_draws = False
        """Whether `detect` gives the map of each random draw too, where a method draws."""
        self.keeps_background = False
        """Whether the map of `detect` keeps what lies outside the brain, see `Detection`."""
        self.validation_seed = 0
        """Number of the validation batch, for draws that are the same ones in every epoch."""
        self.step = 0
        """Steps of the optimiser so far."""
        # Of some methods it is the only tensor; it goes wherever the detector goes.
        self.register_buffer("_place", torch.empty(0), persistent=False)

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self._place.device

    @property
    def by_gradient(self) -> bool:
        """Whether there is anything that an optimiser trains."""
        return any(parameter.requires_grad for parameter in self.parameters())

    @property
    def learns(self) -> bool:
        """Whether it learns from healthy brains, by an optimiser or by `measure`."""
        return self.by_gradient or self.measures

    @property
    def measures(self) -> bool:
        """Whether `measure` has to be called, before any training."""
        return type(self).measure is not AnomalyDetector.measure

    @property
    def mirrors(self) -> bool:
        """Whether it takes the first axis of an image for left to right."""
        return False

    @property
    def knows_places(self) -> bool:
        """Whether it learns, by `measure`, what each place looks like (`GridBuffers.of_places`).

        Its training scans are then laid on one grid by their affines, and so is what it scores;
        what it finds comes back on the scan's own grid.
        """
        return any(isinstance(part, GridBuffers) and part.of_places for part in self.modules())

    @property
    def needs_places(self) -> bool:
        """Whether it refuses scans that lie in several worlds; else each counts as it lies."""
        return any(isinstance(part, GridBuffers) and part.needs_places for part in self.modules())

    @property
    def takes_pairs(self) -> bool:
        """Whether a batch of its loss has a donor for each tile, behind the tiles.

        `brainuad.training.pairs` deals them.
        """
        return False

    def measure(self, batches: Iterable[Batch]) -> None:
        """What a method learns without an optimiser: one pass over the training tiles.

        Called before the training, and in place of it where nothing is trained `by_gradient`, when
        the detector is on its device.

        Args:
            batches: every training tile once, as it is, on the CPU.
        """
        raise NotImplementedError(f"{type(self).__name__} measures nothing")

    def generator(self) -> torch.Generator | None:
        """Of a loss's draws: None, the global one, in training.

        In validation one on the CPU, the same for a batch in every epoch and on every device.
        """
        return None if self.training else torch.Generator().manual_seed(self.validation_seed)

    def start_epoch(self, epoch: int) -> None:
        """Called before an epoch of training, and before the rest of one that was interrupted."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Terms of the objective; the one named `loss` is minimised, all are logged."""
        raise NotImplementedError(f"{type(self).__name__} has nothing to train")

    @abstractmethod
    def score(self, image: Tensor, brain_mask: Tensor) -> Detection:
        """Scores a batch; larger = more abnormal. Called in evaluation mode without gradient.

        Args:
            image: `(B, C, *S)` in [0, 1], zero outside the brain.
            brain_mask: `(B, 1, *S)` bool.
        """

    @torch.no_grad()
    def detect(self, image: Tensor, brain_mask: Tensor) -> Detection:
        """Scores a batch and its pseudo-healthy image in one pass; shapes as in `Detection`."""
        was_training = self.training
        self.eval()
        try:
            found = self.score(image, brain_mask)
        finally:
            self.train(was_training)
        zero = torch.zeros((), device=image.device)
        anomaly_map = found.anomaly_map.float().clamp_min(0)
        if not self.keeps_background:
            anomaly_map = torch.where(brain_mask, anomaly_map, zero)
        others = (
            None if image is None else torch.where(brain_mask, image.float(), zero)
            for image in found[1:]
        )
        return Detection(anomaly_map, *others)

    def lies_at(self, affine: np.ndarray | None) -> None:
        """Called before a scan is scored, for methods that know places; others ignore it.

        Args:
            affine: `(4, 4)`, voxels of the prepared scan, or of the grid that it was laid on
                (`knows_places`), to its world in mm; None where nobody knows it, for the grid of
                the training scans.
        """

    def judge_scan(self, found: Detection, image: Tensor) -> Detection:
        """What a whole scan changes in the scores of its tiles; as they are, unless overridden.

        Args:
            found: of a whole scan, `(C, D, H, W)`, on the CPU.
            image: `(C, D, H, W)` in [0, 1].
        """
        return found

    def anomaly_map(self, image: Tensor, brain_mask: Tensor) -> Tensor:
        """`(B, C, *S)`, `(B, 1, *S)` to the anomaly map `(B, 1, *S)`; see `Detection`."""
        return self.detect(image, brain_mask).anomaly_map

    def training_set(self, tiles: TileDataset, cache_dir: Path) -> Dataset[Any]:
        """What a method trains on, indexed by (epoch, index): the tiles, or what it makes of them.

        Called when the detector is on its device. What is made is kept in `cache_dir`.
        """
        return tiles

    def examine(
        self, tiling: Tiling, train: Sequence[Scan], held_out: Sequence[Scan], out: Path
    ) -> None:
        """Checks of a method's own after training, written into the run folder `out`.

        Args:
            tiling: of this method.
            train: healthy scans it was trained on, as it sees them.
            held_out: healthy validation scans, as it sees them.
            out: run folder.
        """


class ReconstructionDetector(AnomalyDetector):
    """Scores by what a pseudo-healthy reconstruction cannot explain.

    Args:
        residual: from image, reconstruction and brain mask to the anomaly map.
        features: of an encoder of the method, for residuals that take them.
        draws: whether the method draws several reconstructions, for residuals that take those.

    Raises:
        ValueError: the residual takes what the method does not have.
    """

    def __init__(
        self,
        residual: Residual,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        *,
        features: Features | None = None,
        draws: bool = False,
    ) -> None:
        super().__init__(optimizer, scheduler)
        self.residual = bind(residual, features, draws)

    @abstractmethod
    def reconstruct(self, image: Tensor, brain_mask: Tensor) -> Tensor:
        """The pseudo-healthy image `(B, C, *S)` of `image (B, C, *S)`."""

    def score(self, image: Tensor, brain_mask: Tensor) -> Detection:
        """The residual of the reconstruction."""
        reconstruction = self.reconstruct(image, brain_mask)
        return Detection(self.residual(image, reconstruction, brain_mask), reconstruction)

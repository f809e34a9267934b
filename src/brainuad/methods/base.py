"""Contract of a method: a module that scores images, and its loss."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import Dataset

from brainuad.methods.parts.grid_buffers import GridBuffers
from brainuad.methods.parts.residuals import Features, Residual, bind
from brainuad.tiles.cache import TileDataset
from brainuad.types import Batch, Detection
from brainuad.volumes.grids import Grid

OptimizerFactory = Callable[[Iterable[Any]], Optimizer]
SchedulerFactory = Callable[[Optimizer], Any]


@dataclass(frozen=True)
class Traits:
    """Facts about a method that data, training and commands depend on.

    A class states those of all its instances; a constructor narrows them with
    `self.traits = replace(self.traits, ...)`.

    Attributes:
        samples: scores by random draws, has an attribute `n_samples`, and returns an uncertainty.
        left_right: the first image axis is left to right.
        pairs: trains on tiles with donors: the second half of a batch of its loss holds one for
            each tile of the first half (`brainuad.training.pairs`).
        places: whether it learns the appearance of each place, by `measure`. If `used`, training
            scans and scored scans are resampled to one grid by their affines, and maps return on
            the scan's own grid; scans of several worlds stay on their own grids. If `required`,
            those are refused.
        keeps_background: the map keeps the scores outside the brain, see `Detection`.
        own_threshold: threshold with a meaning of its own, such as a probability of 0.5, fitted to
            nothing; None without one.
        detection_options: constructor arguments that change scores and nothing of the training.
        compiled: functions of its networks that the loss calls; `callbacks=compile` compiles them.
        one_pass: scores by one pass through fixed functions, without random draws, gradients or
            repetitions that depend on the image; such a method can be exported to other runtimes.
    """

    samples: bool = False
    left_right: bool = False
    pairs: bool = False
    places: Literal["ignored", "used", "required"] = "ignored"
    keeps_background: bool = False
    own_threshold: float | None = None
    detection_options: tuple[str, ...] = ()
    compiled: tuple[str, ...] = ("forward",)
    one_pass: bool = False


class AnomalyDetector(GridBuffers, ABC):
    """A method: learns healthy brains, scores images.

    Six members make a method: `traits`, `first_stage`, `measure`, `loss`, `score` (`reconstruct`
    in a `ReconstructionDetector`) and `calibrate`. A method overrides those it needs; `score` is
    the only one that every method has. Buffers whose size the training data decides, such as an
    atlas or a memory bank, are named in `sized_by_data`.

    Three hooks are for single methods: `start_epoch`, `training_set` and `judge_scan`. All other
    members are for callers. `brainuad.training.module` trains a method.

    Args:
        optimizer: factory from parameters to an optimiser; None for methods without training.
        scheduler: factory from the optimiser to a per-epoch schedule; None for a constant rate.
        first_stage: trained module that the method uses; always frozen and in evaluation mode. None
            for methods without one.
    """

    traits: Traits = Traits()
    _place: Tensor

    def __init__(
        self,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        first_stage: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.optimizer_factory = optimizer
        self.scheduler_factory = scheduler
        self.first_stage = first_stage
        if first_stage is not None:
            first_stage.requires_grad_(False).eval()
        self.grid: Grid | None = None
        """Grid of the training scans, for methods that learn places."""
        self.keeps_draws = False
        """True if `detect` also returns the map of each random draw."""
        self.affine: np.ndarray | None = None
        """Affine `(4, 4)` of the next scan for `score`, voxel to world in mm; None for the grid of
        the training scans.
        """
        self.validation_seed = 0
        """Number of the validation batch; it seeds the draws, so that they are equal in every
        epoch.
        """
        self.step = 0
        """Number of optimiser steps so far."""
        # Some methods have no other tensor to tell the device by.
        self.register_buffer("_place", torch.empty(0), persistent=False)

    def measure(self, batches: Iterable[Batch]) -> None:
        """Learn without an optimiser, in one pass over the training tiles; does nothing here.

        Called before the training, on the detector's device.

        Args:
            batches: every training tile once, not augmented, on the CPU.
        """

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms of the objective; the one named `loss` is minimised, all are logged."""
        raise NotImplementedError(f"{type(self).__name__} has nothing to train")

    @abstractmethod
    def score(self, image: Tensor, brain_mask: Tensor) -> Detection:
        """Score a batch; larger is more abnormal. Called in evaluation mode without gradient.

        Args:
            image: `(B, C, *S)` in [0, 1], zero outside the brain.
            brain_mask: `(B, 1, *S)` bool.
        """

    def calibrate(self, train: Iterable[Batch], held_out: Iterable[Batch]) -> Mapping[str, Any]:
        """Set thresholds and check the trained method; called once, after the training.

        Args:
            train: tiles of each healthy training scan, one batch per scan, on the CPU; can be
                read once.
            held_out: the same of healthy validation scans.

        Returns:
            Numbers, and arrays for pictures, by name. The run writes them to `checks.json` and
            `checks.npz`, and the report shows the numbers.
        """
        return {}

    def start_epoch(self, epoch: int) -> None:
        """Prepare an epoch of training, or the rest of one that was interrupted; a hook."""

    def training_set(self, tiles: TileDataset, cache_dir: Path) -> Dataset[Any]:
        """Return what the method trains on, indexed by (epoch, index): the tiles; a hook.

        Called when the detector is on its device. Derived data are kept in `cache_dir`.
        """
        return tiles

    def judge_scan(self, found: Detection, image: Tensor) -> Detection:
        """Change the scores of a whole scan by information that single tiles lack; a hook.

        Args:
            found: detection in a whole scan, `(C, D, H, W)`, on the CPU.
            image: `(C, D, H, W)` in [0, 1].
        """
        return found

    @property
    def device(self) -> torch.device:
        """Device of the detector."""
        return self._place.device

    @property
    def by_gradient(self) -> bool:
        """Return whether the method has parameters to train by an optimiser."""
        return any(parameter.requires_grad for parameter in self.parameters())

    @property
    def learns(self) -> bool:
        """Return whether the method learns, so that its checkpoint has weights or buffers."""
        return bool(self.state_dict())

    def generator(self) -> torch.Generator | None:
        """Return the generator for draws of the loss: None, the global one, in training.

        In validation it is one on the CPU, the same for a batch in every epoch and on every device.
        """
        return None if self.training else torch.Generator().manual_seed(self.validation_seed)

    @torch.no_grad()
    def detect(self, image: Tensor, brain_mask: Tensor) -> Detection:
        """Score a batch in evaluation mode; shapes and ranges are those of `Detection`."""
        was_training = self.training
        self.eval()
        try:
            found = self.score(image, brain_mask)
        finally:
            self.train(was_training)
        return self.finished(found, brain_mask)

    def finished(self, found: Detection, brain_mask: Tensor) -> Detection:
        """Return the result of `score` in the type and range of `Detection`."""
        zero = torch.zeros((), device=brain_mask.device)
        anomaly_map = found.anomaly_map.float().clamp_min(0)
        if not self.traits.keeps_background:
            anomaly_map = torch.where(brain_mask, anomaly_map, zero)
        others = (
            None if image is None else torch.where(brain_mask, image.float(), zero)
            for image in found[1:]
        )
        return Detection(anomaly_map, *others)

    def anomaly_map(self, image: Tensor, brain_mask: Tensor) -> Tensor:
        """Return the anomaly map `(B, 1, *S)`; see `Detection`."""
        return self.detect(image, brain_mask).anomaly_map

    def train(self, mode: bool = True) -> Self:
        """As `nn.Module.train`; the first stage stays in evaluation mode."""
        super().train(mode)
        if self.first_stage is not None:
            self.first_stage.eval()
        return self

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *rest: object
    ) -> None:
        """Accept the first stage's weights under their old name `autoencoder`."""
        if self.first_stage is not None:
            for name in [name for name in state_dict if name.startswith(f"{prefix}autoencoder.")]:
                new = f"{prefix}first_stage.{name.removeprefix(f'{prefix}autoencoder.')}"
                state_dict[new] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, *rest)


class ReconstructionDetector(AnomalyDetector):
    """A method that scores by the difference to a pseudo-healthy reconstruction.

    Args:
        residual: from image, reconstruction and brain mask to the anomaly map.
        optimizer: as in `AnomalyDetector`.
        scheduler: as in `AnomalyDetector`.
        first_stage: as in `AnomalyDetector`.
        features: features of an encoder of the method, for residuals that need them.
        draws: whether the method draws several reconstructions, for residuals that need them.

    Raises:
        ValueError: the residual needs an input that the method does not have.
    """

    traits = Traits(detection_options=("residual",), one_pass=True)

    def __init__(
        self,
        residual: Residual,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        first_stage: nn.Module | None = None,
        *,
        features: Features | None = None,
        draws: bool = False,
    ) -> None:
        super().__init__(optimizer, scheduler, first_stage)
        self.residual = bind(residual, features, draws)

    @abstractmethod
    def reconstruct(self, image: Tensor, brain_mask: Tensor) -> Tensor:
        """Return the pseudo-healthy image `(B, C, *S)` of `image (B, C, *S)`."""

    def score(self, image: Tensor, brain_mask: Tensor) -> Detection:
        """Return the residual of the reconstruction."""
        reconstruction = self.reconstruct(image, brain_mask)
        return Detection(self.residual(image, reconstruction, brain_mask), reconstruction)


class InpaintingDetector(AnomalyDetector):
    """A method that can fill a region with healthy tissue, for `brainuad-inpaint`."""

    @abstractmethod
    def inpaint(self, image: Tensor, hole: Tensor) -> Tensor:
        """Fill regions; the image outside them does not change.

        Args:
            image: `(B, C, *S)` in [0, 1], zero outside the brain.
            hole: `(B, 1, *S)` bool; the image's values there do not matter.
        """

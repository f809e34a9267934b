"""The LightningModule that trains a method."""

from collections.abc import Mapping
from typing import Any

from lightning import LightningModule
from torch import Tensor

from brainuad.machine import ranks
from brainuad.methods.base import AnomalyDetector
from brainuad.types import Batch


class DetectorModule(LightningModule):
    """Steps, optimiser, logging and checkpoints of a method, which does not depend on Lightning.

    Args:
        detector: method to train.
        card: card in plain values, saved in every checkpoint.
    """

    def __init__(self, detector: AnomalyDetector, card: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.detector = detector
        self.card = card or {}

    def on_train_start(self) -> None:
        """Set the epoch; Lightning calls no start of an epoch that is resumed in its middle."""
        self.on_train_epoch_start()

    def on_train_epoch_start(self) -> None:
        """Set the epoch of the method."""
        self.detector.start_epoch(self.current_epoch)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one step, and log its terms."""
        self.detector.step = self.global_step
        return self._step("train", batch) * ranks.relative_share(len(batch[0]), self.device)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the terms of the loss on healthy validation subjects."""
        self.detector.validation_seed = batch_idx
        self._step("val", batch)

    def configure_optimizers(self) -> Any:
        """Return optimiser and schedule of the trainable parameters."""
        detector = self.detector
        if detector.optimizer_factory is None:
            raise ValueError(f"{type(detector).__name__} needs an optimizer to train")
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = detector.optimizer_factory(trained)
        if detector.scheduler_factory is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": detector.scheduler_factory(optimizer)}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the card to the checkpoint."""
        checkpoint["brainuad"] = self.card

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Return the method's state: a checkpoint names the weights as a model file does."""
        return self.detector.state_dict(*args, **kwargs)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        """Load the method's names; a moving average is loaded through here, too."""
        for name in [name for name in state_dict if name.startswith(prefix)]:
            own = name.removeprefix(prefix)
            state_dict[f"{prefix}detector.{own}"] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _step(self, stage: str, batch: Batch) -> Tensor:
        terms = self.detector.loss(batch)
        self.log_dict(
            {f"{stage}/{name}": value.detach() for name, value in terms.items()},
            on_step=False,
            on_epoch=True,
            prog_bar=True,
            batch_size=len(batch[0]),
            sync_dist=True,
        )
        return terms["loss"]

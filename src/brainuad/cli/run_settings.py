"""Settings of a run, made of the configuration of `train.py`."""

import copy
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig, open_dict

from brainuad.model.device import chosen_precision, device
from brainuad.settings.instantiate import resolve
from brainuad.training.settings import RunSettings


def settings_of(cfg: DictConfig) -> RunSettings:
    """Return the settings of a run, with the device and the precisions that `auto` stands for.

    Args:
        cfg: configuration composed from `configs/train.yaml`; it is not changed.

    Raises:
        InputError: a device that cannot be used, or no such precision.
    """
    cfg = copy.deepcopy(cfg)
    place = device(cfg.device)
    # The run folder records the precision that was used.
    cfg.predict_precision = chosen_precision(cfg.predict_precision, place)
    if cfg.trainer.precision == "auto":
        cfg.trainer.precision = chosen_precision("auto", place)

    def stage(out: Path) -> RunSettings:
        return replace(RunSettings.of(resolve(_first_stage(cfg, out))), device=place)

    own = RunSettings.of(resolve(cfg), stage if cfg.first_stage else None)
    return replace(own, device=place)


def _first_stage(cfg: DictConfig, out: Path) -> DictConfig:
    """Return the configuration of the first stage's own run in a folder."""
    stage = copy.deepcopy(cfg)
    first = stage.first_stage
    with open_dict(stage):
        stage.model = first.model
        stage.name = first.name
        stage.seed = first.seed
        stage.max_epochs = first.max_epochs
        stage.datamodule.batch_size = first.batch_size
        stage.paths.output_dir = str(out)
        # The method's choice of the kept weights does not hold for its first stage.
        stage.update(first_stage=None, logger=None, keep="val/loss")
        stage.update(ckpt="last", weights=None, also=None)
        stage.update(predict=False, evaluate=False, report=False, painted_draws=0, relative=None)
    return stage

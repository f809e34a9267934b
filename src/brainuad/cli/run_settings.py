"""Turn the configuration of `train.py` into the settings of a run."""

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
        cfg: composed from `configs/train.yaml`; stays as it is.

    Raises:
        InputError: a device that cannot be used, or no such precision.
    """
    cfg = copy.deepcopy(cfg)
    place = device(cfg.device)
    # The run folder keeps the precision that was computed in.
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
        # The method's own choice of weights is not the autoencoder's.
        stage.update(first_stage=None, logger=None, keep="val/loss")
        stage.update(ckpt="last", weights=None, also=None)
        stage.update(predict=False, evaluate=False, report=False, painted_draws=0, relative=None)
    return stage

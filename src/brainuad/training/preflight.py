"""Checks of a run's settings before its first scan is prepared, not after hours of training."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from brainuad.errors import InputError
from brainuad.evaluation.thresholds import require_space
from brainuad.machine import ranks
from brainuad.machine.limits import require_folder, require_whole
from brainuad.preparation.configured import Needs
from brainuad.settings.instantiate import RUN_PACKAGES, instantiate
from brainuad.synthetic.masks.from_lesions import LesionHoles
from brainuad.training.settings import Config, RunSettings

if TYPE_CHECKING:
    from brainuad.methods.base import AnomalyDetector

LEAST = {
    **dict.fromkeys(("predict_batch_size", "jobs", "datamodule.batch_size", "data.folds"), 1),
    **dict.fromkeys(("painted_draws", "data.fold", "seed", "datamodule.num_workers"), 0),
    **dict.fromkeys(("max_epochs", "trainer.max_epochs", "limit"), 1),
}
"""Smallest value of each whole number of a run; null is allowed."""

CHECKPOINTS = 7
"""Size of a run folder in units of the trained weights: the model, and two checkpoints with the two
moments of the optimiser."""


def require_numbers(config: Config) -> None:
    """Refuse values that are no whole numbers, or too small.

    Args:
        config: configuration of a run, plain values.

    Raises:
        InputError: naming the key.
    """
    for key, least in LEAST.items():
        value: Any = config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            require_whole(value, least, key)


def preflight(settings: RunSettings) -> Needs:
    """Check the settings of a run, and return the splits that it needs.

    Raises:
        InputError: a device, trainer, method, tiling or post-processing that cannot be used, or a
            number out of range.
        CannotWrite: the run folder cannot be written.
    """
    require_numbers(settings.config)
    require_space(settings.space)
    if settings.channels > 1 and settings.input["tissue"] is not None:
        raise InputError(
            "input: tissue maps are made of one sequence; set data.sequence to one, or "
            "input=intensity"
        )
    instantiate(settings.tiling)
    instantiate(settings.postprocess)
    for control in settings.controls.values() if settings.predict else ():
        instantiate(control["model"])
        instantiate(control["tiling"])
    _require_shapes(settings.model)
    detector = _detector(settings)
    learns = detector is None or detector.learns
    trained = 0
    if detector is not None and detector.by_gradient:
        trained = sum(p.numel() * p.element_size() for p in detector.parameters())
    require_folder(settings.out, CHECKPOINTS * trained)
    if learns:
        require_trainer(settings.trainer)
    return dict(_needs(settings, learns))


def _require_shapes(settings: Any) -> None:
    """Read the lesion masks that a method needs, if it does.

    Args:
        settings: configuration of the method, plain values.

    Raises:
        InputError: there are no masks.
    """
    below = settings
    if isinstance(settings, dict):
        below = settings.values()
        if settings.get("_target_") == f"{LesionHoles.__module__}.LesionHoles":
            instantiate(settings).require()
    for value in below if isinstance(settings, dict | list) else ():
        _require_shapes(value)


def _detector(settings: RunSettings) -> "AnomalyDetector | None":
    """Return the untrained method; None where its first stage is not read yet."""
    if settings.stage is not None or isinstance(settings.model.get("first_stage"), str):
        return None
    made: AnomalyDetector = instantiate(settings.model)
    return made


def _needs(settings: RunSettings, learns: bool) -> Iterator[tuple[str, bool | None]]:
    own_scans = str(settings.datamodule["_target_"]).endswith(".HealthyDataModule")
    if (learns and own_scans) or settings.relative:
        yield "train", True
    if (learns and own_scans) or settings.painted_draws or settings.predict:
        yield "val", True
    if settings.predict:
        yield "test", None


def require_trainer(trainer_config: Config) -> None:
    """Refuse settings of the trainer that Lightning refuses, with a remedy.

    Raises:
        InputError: naming the group or the variable.
    """
    require_tasks()
    try:
        trainer = instantiate(trainer_config, logger=False, packages=RUN_PACKAGES)
    # Lightning raises several types: MisconfigurationException, ValueError, AssertionError, …
    except InputError:
        raise
    except Exception as error:
        raise InputError(refused_trainer(error)) from error
    tasks = ranks.number("SLURM_NTASKS")
    own = trainer.num_devices * trainer.num_nodes
    if _launched() and tasks is not None and tasks not in (1, own):
        raise InputError(
            f"SLURM starts {tasks} processes and the trainer takes {own}; ask for --ntasks=1, or "
            "for trainer=ddp with as many --ntasks-per-node as trainer.devices"
        )


def require_tasks() -> None:
    """Refuse a SLURM job whose processes have no distinct ranks.

    Raises:
        InputError: naming the variable.
    """
    tasks = ranks.number("SLURM_NTASKS")
    for name in ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS_PER_NODE"):
        ranks.number(name)
    if _launched() and tasks and tasks > 1 and "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise InputError(
            f"SLURM_NTASKS is {tasks}: of a job with --ntasks={tasks} the trainer cannot tell how "
            f"they lie on the nodes; ask for --ntasks-per-node={tasks} (with trainer=ddp), or for "
            "--ntasks=1"
        )


def refused_trainer(error: Exception) -> str:
    """Return one line about what Lightning refuses."""
    line = " ".join(str(error).split()) or f"{type(error).__name__} of Lightning"
    return f"trainer: {line:.300}; see configs/trainer for what there is"


def _launched() -> bool:
    """Return whether Lightning takes this for a job of SLURM; interactive jobs are none."""
    interactive = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
    return "SLURM_NTASKS" in os.environ and not interactive

"""The training itself: where it goes on, on how many devices, and which weights it leaves."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from rich.progress import track

from brainuad.cohorts.places import as_plain, shared_grid
from brainuad.errors import InputError
from brainuad.machine import threads
from brainuad.machine.files import atomic_path, remove_leftovers
from brainuad.machine.text import say
from brainuad.model.card import Card, same_training
from brainuad.model.checkpoint import read_checkpoint
from brainuad.model.model import Model
from brainuad.settings.instantiate import RUN_PACKAGES, instantiate
from brainuad.shipped import resolved
from brainuad.training.datamodule import HealthyDataModule
from brainuad.training.module import DetectorModule
from brainuad.training.preflight import refused_trainer
from brainuad.training.settings import RunSettings
from brainuad.types import Batch


class AtomicCheckpoints(TorchCheckpointIO):
    """Checkpoints that are whole or not there; Lightning's own may move between file systems."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Writes beside `path`, then renames."""
        # Into an open file, as `save_model` says.
        with atomic_path(Path(path)) as temporary, temporary.open("wb") as file:
            torch.save(_unshared(_without_last_score(checkpoint)), file)


def _without_last_score(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint without what Lightning writes and never reads: a resumed training lacks it."""
    states = checkpoint.get("callbacks", {})
    kept = {
        name: {**state, "current_score": None} if "current_score" in state else state
        for name, state in states.items()
    }
    return {**checkpoint, "callbacks": kept} if states else checkpoint


def _unshared(value: Any) -> Any:
    """A copy whose bytes depend on its content alone.

    Where an object occurs again, pickle writes a reference. After a resumption what was read from
    the checkpoint is no longer the same object as what is equal to it.
    """
    if type(value) is str:
        return sys.intern(value)
    if type(value) is dict:
        return {_unshared(key): _unshared(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_unshared(item) for item in value)
    return value


def resume_point(ckpt: str | None, out: Path, card: Card) -> Path | None:
    """Return the checkpoint to go on from; None where none was asked for, or none is there.

    Args:
        ckpt: path, or `last` for the last one of the run folder.
        out: run folder.
        card: of the run.

    Raises:
        InputError: unreadable, or made with other settings.
    """
    if ckpt is None:
        return None
    path = out / "checkpoints" / "last.ckpt" if ckpt == "last" else Path(ckpt)
    if ckpt == "last" and not path.is_file():
        say(f"no checkpoint in {path.parent} yet: starting from the beginning")
        return None
    _check_resumable(path, read_checkpoint(path), card)
    say(f"resuming from {path}")
    return path


def start_from(weights: str | None, model: Model) -> None:
    """Put the weights of a trained model into another; its card names them.

    Args:
        weights: a checkpoint, run folder or bundle, or the name of a model that the package has for
            the model's sequence; None for no weights.
        model: its card has the hash of its first stage, if any.

    Raises:
        InputError: as `Model.load` and `resolved`, or the weights are of another network or another
            first stage.
    """
    if weights is None:
        return
    path = resolved(weights, model.card.sequence)
    given = Model.load(path)
    try:
        model.method.load_state_dict(given.method.state_dict())
    except RuntimeError as error:
        raise InputError(
            f"weights: {path} is of another network ({str(error).splitlines()[-1].strip()}); give "
            "a model of the same experiment"
        ) from None
    if (given.card.first_stage or {}).get("sha256") != model.card.run.get("first_stage"):
        raise InputError(
            f"weights: {path} stands on another first stage; set model.autoencoder={path} too"
        )
    run = {**model.card.run, "weights": given.weights_hash}
    model.card = replace(model.card, run=run)


def fit(
    settings: RunSettings,
    model: Model,
    datamodule: HealthyDataModule,
    resume: Path | None,
    logger: Any = False,
) -> None:
    """Train, from a checkpoint where there is one, and leave the kept weights in the model.

    `settings.keep` chooses them: `last` for those of the last epoch, else those of the epoch with
    the lowest value of the metric that it names. Of averaged weights the average.

    Args:
        settings: of the run.
        model: its card gets the grid of the training scans, where the method knows places.
        datamodule: of the training tiles.
        resume: checkpoint to go on from.
        logger: of Lightning; False for none.

    Raises:
        InputError: the method's network would see slices mirrored that are not cut left to
            right; or Lightning refuses a setting that only a training shows.
    """
    detector = model.method
    callbacks = instantiate(settings.callbacks, packages=RUN_PACKAGES).values()
    remove_leftovers(settings.out)
    # The data module deals the samples to the ranks itself. `preflight` has tried the settings.
    trainer: Trainer = instantiate(
        settings.trainer,
        callbacks=list(callbacks),
        logger=logger,
        plugins=[AtomicCheckpoints()],
        use_distributed_sampler=False,
        packages=RUN_PACKAGES,
    )
    if detector.mirrors and datamodule.tiling.left_right_axis != 0:
        raise InputError(
            "the network looks at the other side of the brain, which the first axis of these "
            "slices does not lead to; set model.network.mirror=false, or, of fpi, "
            "model.mirror=false and model/network=unet_small"
        )
    if detector.measures:
        measure(model, datamodule)
    if not detector.by_gradient:
        return
    _say_batch(trainer, datamodule.batch_size)
    threads.divide(trainer.num_devices)
    module = DetectorModule(detector, model.card.to_json())
    try:
        with matmul_precision(settings.matmul_precision):
            trainer.fit(module, datamodule=datamodule, ckpt_path=resume, weights_only=True)
    # A metric of `keep` that no epoch has, say.
    except MisconfigurationException as error:
        raise InputError(refused_trainer(error)) from error
    if trainer.interrupted:
        raise KeyboardInterrupt
    kept = Path(getattr(trainer.checkpoint_callback, "best_model_path", "") or "")
    if settings.keep == "last":
        # Read again: a run that had ended and is only scored anew holds no average.
        kept = settings.out / "checkpoints" / "last.ckpt"
    if kept.is_file():
        detector.load_state_dict(read_checkpoint(kept)["state_dict"])


@contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    """Sets torch's precision of float32 matrix products; the one before is back at the end.

    Raises:
        InputError: torch has no such precision.
    """
    if precision not in ("highest", "high", "medium"):
        raise InputError(f"matmul_precision is {precision}; use highest, high or medium")
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def measure(model: Model, datamodule: HealthyDataModule) -> None:
    """Learn what takes no optimiser: one pass over the training tiles, before anything else.

    Takes seconds, so it is begun anew after an interruption, and where a launcher started several
    ranks each makes the whole pass for itself, to the same end.

    Args:
        model: its method is put on the CPU again at the end, for Lightning to move.
        datamodule: of the training tiles, which come on the CPU.

    Raises:
        InputError: the method takes scans of one world alone, and these are of several.
    """
    detector = model.method
    if detector.knows_places:
        _lay_on_one_grid(model, datamodule)
    datamodule.setup()
    batches = track(datamodule.measuring_dataloader(), description="measuring")
    # A method may have a large network look at them.
    detector.to(model.runtime.device)
    detector.measure(Batch(*batch) for batch in batches)
    detector.cpu()


def _lay_on_one_grid(model: Model, datamodule: HealthyDataModule) -> None:
    """Let places go by the affines: no voxels of two places are added."""
    grid, said = shared_grid(datamodule.scans["train"])
    if grid is None and model.method.needs_places:
        raise InputError(
            f"{said}: they have no places in common, which this method learns from; register them "
            "with brainuad-prepare"
        )
    if grid is None:
        return
    if said:
        say(said)
    datamodule.grid = grid
    model.card = replace(model.card, grid=as_plain(grid))
    model.method.grid = grid


def _say_batch(trainer: Trainer, batch_size: int) -> None:
    """What a step of the optimiser is an average of; the rate is never scaled behind one's back."""
    devices, steps = trainer.world_size, trainer.accumulate_grad_batches
    if devices * steps > 1:
        say(
            f"batch: {batch_size} tiles x {devices} devices x {steps} accumulated = "
            f"{batch_size * devices * steps}; the learning rate is as configured, not scaled by it"
        )


def _check_resumable(path: Path, checkpoint: dict[str, Any], card: Card) -> None:
    saved = checkpoint.get("brainuad", {}).get("run", {})
    now = card.run
    differing = [key for key in now if not same_training(saved.get(key), now[key])]
    if differing:
        raise InputError(
            f"{path}: was made with another {', '.join(differing)}; repeat the command it was "
            "made with (config.yaml beside it) or start without ckpt"
        )

"""Training: where it resumes, on how many devices, and which weights it keeps."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from rich.progress import track

from brainuad.cohorts.manifest import Scan
from brainuad.cohorts.places import as_plain, shared_grid
from brainuad.errors import InputError
from brainuad.machine import threads
from brainuad.machine.files import atomic_path, remove_leftovers, write_json
from brainuad.machine.text import say
from brainuad.model.card import same_training
from brainuad.model.checkpoint import read_checkpoint
from brainuad.model.model import Model
from brainuad.settings.instantiate import RUN_PACKAGES, instantiate
from brainuad.shipped import resolved
from brainuad.tiles.cache import brain_tiles
from brainuad.training.datamodule import HealthyDataModule
from brainuad.training.module import DetectorModule
from brainuad.training.preflight import refused_trainer
from brainuad.training.settings import RunSettings
from brainuad.types import Batch


class AtomicCheckpoints(TorchCheckpointIO):
    """Checkpoints written atomically; Lightning's own are moved, maybe between file systems."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write beside `path`, then rename."""
        # Into an open file, as in `Model.save`.
        with atomic_path(Path(path)) as temporary, temporary.open("wb") as file:
            torch.save(_unshared(_without_last_score(checkpoint)), file)


def _without_last_score(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint without `current_score`, which Lightning never reads.

    After a resumption it differs.
    """
    states = checkpoint.get("callbacks", {})
    kept = {
        name: {**state, "current_score": None} if "current_score" in state else state
        for name, state in states.items()
    }
    return {**checkpoint, "callbacks": kept} if states else checkpoint


def _unshared(value: Any) -> Any:
    """Return a copy whose pickled bytes depend on its content alone.

    Pickle writes a reference where an object occurs again. After a resumption equal objects may no
    longer be the same object.
    """
    if type(value) is str:
        return sys.intern(value)
    if type(value) is dict:
        return {_unshared(key): _unshared(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_unshared(item) for item in value)
    return value


def resume_point(ckpt: str | None, out: Path, model: Model) -> Path | None:
    """Return the checkpoint to resume from; None for a new training.

    Args:
        ckpt: path, or `last` for the last checkpoint of the run folder; None for a new training.
        out: run folder.
        model: model with the card of the run.

    Raises:
        InputError: unreadable, or made with other settings.
    """
    if ckpt is None:
        return None
    path = out / "checkpoints" / "last.ckpt" if ckpt == "last" else Path(ckpt)
    if ckpt == "last" and not path.is_file():
        say(f"no checkpoint in {path.parent} yet: starting from the beginning")
        return None
    _check_resumable(path, read_checkpoint(path), model)
    say(f"resuming from {path}")
    return path


def start_from(weights: str | None, model: Model) -> None:
    """Load the weights of a trained model into another, and record their hash in its card.

    Args:
        weights: a checkpoint, run folder or bundle, or the name of a model that comes with
            brainuad for the model's sequence; None for no weights.
        model: untrained model; its card has the hash of its first stage, if any.

    Raises:
        InputError: an unreadable model, or weights of another network or another first stage.
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
            f"weights: {path} uses another first stage; set model.first_stage={path} too"
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
    """Train, from a checkpoint where there is one, and load the kept weights into the model.

    `settings.keep` chooses them: `last` for those of the last epoch, else those of the epoch with
    the lowest value of the metric that it names. Averaged weights are kept as their average.

    Args:
        settings: settings of the run.
        model: model to train; its card gets the grid of the training scans, where the method
            depends on the position.
        datamodule: training tiles.
        resume: checkpoint to resume from; None for a new training.
        logger: logger of Lightning; False for none.

    Raises:
        InputError: the method's network would see slices mirrored that are not cut left to
            right; or Lightning refuses a setting that only a training shows.
    """
    detector = model.method
    callbacks = instantiate(settings.callbacks, packages=RUN_PACKAGES).values()
    remove_leftovers(settings.out)
    # The data module distributes the samples to the ranks. `preflight` has checked the settings.
    trainer: Trainer = instantiate(
        settings.trainer,
        callbacks=list(callbacks),
        logger=logger,
        plugins=[AtomicCheckpoints()],
        use_distributed_sampler=False,
        packages=RUN_PACKAGES,
    )
    if detector.traits.left_right and datamodule.tiling.left_right_axis != 0:
        raise InputError(
            "the network looks at the other side of the brain, which the first axis of these "
            "slices does not lead to; set model.network.mirror=false, or, of fpi, "
            "model.mirror=false and model/network=unet_small"
        )
    measure(model, datamodule)
    if not detector.by_gradient:
        return
    _say_batch(trainer, datamodule.batch_size)
    threads.divide(trainer.num_devices)
    module = DetectorModule(detector, model.card.to_json())
    try:
        with matmul_precision(settings.matmul_precision):
            trainer.fit(module, datamodule=datamodule, ckpt_path=resume, weights_only=True)
    # For example a metric of `keep` that no epoch has.
    except MisconfigurationException as error:
        raise InputError(refused_trainer(error)) from error
    if trainer.interrupted:
        raise KeyboardInterrupt
    kept = Path(getattr(trainer.checkpoint_callback, "best_model_path", "") or "")
    if settings.keep == "last":
        # Read again: a finished run that is only scored anew has no average in memory.
        kept = settings.out / "checkpoints" / "last.ckpt"
    if kept.is_file():
        detector.load_state_dict(read_checkpoint(kept)["state_dict"])


@contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    """Set torch's precision of float32 matrix products in the block.

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
    """Measure the training tiles in one pass, for what a method learns without an optimiser.

    The pass takes seconds. A resumed training repeats it, and so does each rank, with the same
    result.

    Args:
        model: its method is moved to the CPU at the end, because Lightning moves it.
        datamodule: training tiles, on the CPU.

    Raises:
        InputError: the method needs scans in one world, and these are in several.
    """
    detector = model.method
    if detector.traits.places != "ignored":
        _lay_on_one_grid(model, datamodule)
    # A method may run a large network on them.
    detector.to(model.runtime.device)
    detector.measure(_training_tiles(datamodule))
    detector.cpu()


def _training_tiles(datamodule: HealthyDataModule) -> Iterator[Batch]:
    """Yield every training tile once; tiles are cut only when they are asked for."""
    datamodule.setup()
    for batch in track(datamodule.measuring_dataloader(), description="measuring"):
        yield Batch(*batch)


def calibrate(model: Model, scans: Mapping[str, Sequence[Scan]], out: Path) -> None:
    """Calibrate a trained method, and keep its results in the card and the run folder.

    Numbers go to `checks.json`, beside those of the first stage; arrays to `checks.npz`.

    Args:
        model: trained model, on the device to use.
        scans: healthy scans of `train` and `val` with the method's input.
        out: run folder.
    """
    tiles = (
        map(Batch._make, brain_tiles(scans[split], model.tiling)) for split in ("train", "val")
    )
    found = model.method.calibrate(*tiles)
    arrays = {name: value for name, value in found.items() if isinstance(value, np.ndarray)}
    own = {name: float(value) for name, value in found.items() if name not in arrays}
    model.card = replace(model.card, checks=own)
    stage = (model.card.first_stage or {}).get("checks", {})
    checks = {**{f"first_stage/{name}": value for name, value in stage.items()}, **own}
    if checks:
        write_json(out / "checks.json", checks)
    if arrays:
        with atomic_path(out / "checks.npz") as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)


def _lay_on_one_grid(model: Model, datamodule: HealthyDataModule) -> None:
    """Set the common grid of the training scans for a method that depends on the position."""
    grid, said = shared_grid(datamodule.scans["train"])
    if grid is None and model.method.traits.places == "required":
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
    """Print the effective batch size. The learning rate is not scaled with it."""
    devices, steps = trainer.world_size, trainer.accumulate_grad_batches
    if devices * steps > 1:
        say(
            f"batch: {batch_size} tiles x {devices} devices x {steps} accumulated = "
            f"{batch_size * devices * steps}; the learning rate is as configured, not scaled by it"
        )


def _check_resumable(path: Path, checkpoint: dict[str, Any], model: Model) -> None:
    saved = checkpoint.get("brainuad", {}).get("run", {})
    now = model.card.run
    options = {"model": model.method.traits.detection_options}
    differing = [
        key for key in now if not same_training(saved.get(key), now[key], options.get(key, ()))
    ]
    if differing:
        raise InputError(
            f"{path}: was made with another {', '.join(differing)}; repeat the command it was "
            "made with (config.yaml beside it) or start without ckpt"
        )

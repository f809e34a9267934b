"""First-stage models, such as autoencoders: trained once per configuration and cohort, then reused.

`first_stage` in the configuration describes it; `model.first_stage=PATH` uses a given one. It is a
run of its own in `cache/stages/HASH`, with the hash of all that decides its weights.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainuad import __version__
from brainuad.cohorts.manifest import joined
from brainuad.errors import InputError, PartialFailure
from brainuad.machine.fingerprint import fingerprint, hash_weights
from brainuad.machine.locks import lock
from brainuad.machine.text import say
from brainuad.model.card import without_added
from brainuad.records.fields import picked
from brainuad.records.stage_quality import StageQuality
from brainuad.settings.allowed import MODEL
from brainuad.settings.build import check_targets
from brainuad.settings.moved import as_before, retargeted
from brainuad.settings.plain import plain
from brainuad.training.settings import Config, RunSettings

if TYPE_CHECKING:
    from torch import Tensor

    from brainuad.cohorts.manifest import Cohort, Scan
    from brainuad.model.model import Model

DECIDING = (
    *("data", "input", "model", "tiling", "datamodule", "trainer", "callbacks", "seed"),
    "matmul_precision",
)
"""Settings of a run on which its weights depend."""

NEUTRAL = (
    *("cache_dir", "source", "folder", "dirpath"),  # places: scans count by their content
    *("jobs", "num_workers", "accelerator", "enable_progress_bar"),
)


@dataclass(frozen=True)
class FirstStage:
    """A trained module that a method uses.

    Attributes:
        config: configuration of the module.
        weights: state of the module.
        checks: numbers of its method's calibration, such as PSNR and SSIM; None for a public
            module, for one of another run, and for an unfinished one.
        path: file of the module.
        keeps_scale: True where the latent scale was released with the weights; otherwise it is
            measured together with the checks.
    """

    config: dict[str, Any]
    weights: "dict[str, Tensor]"
    checks: dict[str, float] | None
    path: Path
    keeps_scale: bool = False

    @property
    def digest(self) -> str:
        """Hash of the weights: a run is not resumed on others."""
        return hash_weights(self.weights)


def first_stage_of(
    settings: RunSettings, cohort: "Cohort", train: Callable[[RunSettings], Any]
) -> FirstStage | None:
    """Return the first stage of a run, trained now if there is none yet; None for none.

    Args:
        settings: settings of the run.
        cohort: cohort of the run.
        train: trains a run.

    Raises:
        InputError: a given first stage cannot be used.
    """
    given = settings.model.get("first_stage")
    if isinstance(given, str):
        # Its checks on other scans do not hold for these.
        stage = replace(read_first_stage(Path(given)), checks=None)
        _check_channels(stage, settings.channels)
        return stage
    if settings.stage is None:
        return None
    return _own_stage(settings, settings.stage, cohort, train)


def _check_channels(stage: FirstStage, given: int) -> None:
    """Raise InputError where an autoencoder takes another number of channels than the scans have.

    Its network may also take squares of pixels as channels.
    """
    network = stage.config.get("network")
    if network is None:  # no autoencoder
        return
    taken = network.get("in_channels", 1) // stage.config.get("patch", 1) ** 2
    if taken != given:
        raise InputError(
            f"{stage.path}: its autoencoder takes {taken} channels, data.sequence names {given}; "
            "leave model.first_stage out, and one is trained on these sequences"
        )


def _own_stage(
    settings: RunSettings,
    stage: Callable[[Path], RunSettings],
    cohort: "Cohort",
    train: Callable[[RunSettings], Any],
) -> FirstStage:
    """Return the first stage that the settings describe, trained if need be."""
    folder = settings.cache / "stages" / _hash(stage(settings.out).config, cohort)
    model, part = folder / "model.ckpt", settings.stage_part
    if _is_complete(model, part):
        say(f"first stage: {model} is there already")
    else:
        say(f"first stage: training the {part}")
        _train_once(stage(folder), model, part, train)
    return read_first_stage(model, part)


def build_on(model: "Model", stage: FirstStage, scans: "Mapping[str, Sequence[Scan]]") -> None:
    """Load the weights of the first stage; print a warning where an autoencoder is poor.

    The quality of a given autoencoder is measured on these scans, and so is the latent scale unless
    it came with the weights.

    Args:
        model: model whose method uses the stage; its card gets the quality.
        stage: its first stage.
        scans: healthy scans of `train` and `val` with the method's input.

    Raises:
        InputError: the weights do not fit.
    """
    from brainuad.methods.autoencoder import KLAutoencoder
    from brainuad.methods.parts.residuals import signed
    from brainuad.networks.latent_autoencoder import LatentAutoencoder
    from brainuad.tiles.cache import brain_tiles
    from brainuad.types import Batch

    module = model.method.first_stage
    assert module is not None
    try:
        module.load_state_dict(stage.weights)
    except RuntimeError as error:
        raise InputError(
            f"{stage.path}: its weights do not fit its module ({str(error).splitlines()[0]})"
        ) from None
    checks = stage.checks
    if checks is None and isinstance(module, LatentAutoencoder):
        measured = KLAutoencoder(module, signed).to(model.runtime.device)
        train, val = (
            map(Batch._make, brain_tiles(scans[split], model.tiling)) for split in ("train", "val")
        )
        if not stage.keeps_scale:
            measured.measure_scale(train)
        checks = measured.measure_quality(val)
        measured.cpu()
    elif checks and (quality := picked(StageQuality, checks)) and quality.is_poor:
        say(f"warning: {quality.warning}")
    found = {"checks": checks or {}, "path": str(stage.path), "sha256": stage.digest}
    model.card = replace(model.card, first_stage=found)


def read_first_stage(path: Path, part: str = "autoencoder") -> FirstStage:
    """Read a first stage from a checkpoint of ours, or from public weights.

    Args:
        path: `.ckpt` of a first stage or of a method that holds one, or `.safetensors` in a layout
            that `networks.public_vae` or `networks.dinov2` describes.
        part: name of the module that a second stage uses of a first stage's method.

    Raises:
        InputError: an unreadable file, or one without that module.
    """
    import torch

    from brainuad.model.checkpoint import read_checkpoint
    from brainuad.networks.dinov2 import is_dinov2, read_dinov2
    from brainuad.networks.public_vae import read_public_vae, released_scale

    if path.suffix == ".safetensors" and is_dinov2(path):
        options, weights = read_dinov2(path)
        target = {"_target_": "brainuad.networks.dinov2.DinoV2"}
        return FirstStage(target | options, weights, None, path)
    if path.suffix == ".safetensors":
        options, weights = read_public_vae(path)
        network = {"_target_": "brainuad.networks.public_vae.public_vae", **options}
        config = {
            "_target_": "brainuad.networks.latent_autoencoder.LatentAutoencoder",
            "network": network,
        }
        named = {f"network.{name}": value for name, value in weights.items()}
        scale = torch.tensor(released_scale(path))
        return FirstStage(config, named | {"scale": scale}, None, path, keeps_scale=True)
    checkpoint = read_checkpoint(path)
    card = checkpoint.get("brainuad") or {}
    model = card.get("model") or {}
    # A method that uses such a stage holds it under that name.
    part = "first_stage" if "first_stage" in model else part
    described = model.get(part)
    prefix = f"{part}."
    weights = {
        name.removeprefix(prefix): value
        for name, value in checkpoint["state_dict"].items()
        if name.startswith(prefix)
    }
    if described is None or not weights:
        raise InputError(
            f"{path}: holds no {part}; give a model.ckpt of experiment=autoencoder or a "
            ".safetensors file of a public one"
        )
    try:
        described, checks = plain(described), plain(card.get("checks", card.get("quality")))
    except ValueError as error:
        raise InputError(f"{path}: its card is no plain data: {error}; do not use it") from None
    check_targets(described, MODEL, f"{path}: {part}")
    return FirstStage(described, weights, checks, path)


def _hash(config: Config, cohort: "Cohort") -> str:
    """Return a hash of the configuration, the version, and the healthy scans to train on."""
    config = retargeted(config, as_before)
    sequence = joined(config["data"]["sequence"])
    # By size and time, not by place: a cohort that was moved is the same.
    scans = [
        (scan.subject, scan.split, path.stat().st_size, path.stat().st_mtime_ns)
        for scan in cohort.scans
        if scan.healthy and scan.split in ("train", "val") and scan.sequence == sequence
        for path in (*scan.images, scan.brain_mask)
        if path.is_file()
    ]
    settings = without_added({key: config[key] for key in DECIDING})
    return fingerprint(__version__, _without_neutral(settings), scans)


def _without_neutral(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_neutral(item) for key, item in value.items() if key not in NEUTRAL}
    return value


def _train_once(
    settings: RunSettings, model: Path, part: str, train: Callable[[RunSettings], Any]
) -> None:
    """Train, or wait for another run that trains the same stage.

    The first rank holds the lock and decides for the other ranks.
    """
    from brainuad.machine import ranks

    if ranks.rank() == 0:
        with lock(model):
            if ranks.decide(model.parent, "train", not _is_complete(model, part)):
                _train(settings, train)
                ranks.barrier()
    elif ranks.decide(model.parent, "train", None):
        _train(settings, train)
        ranks.barrier()


def _is_complete(model: Path, part: str) -> bool:
    """Return whether a training reached its end: a model is kept before its calibration."""
    return model.is_file() and read_first_stage(model, part).checks is not None


def _train(settings: RunSettings, train: Callable[[RunSettings], Any]) -> None:
    try:
        train(settings)
    except PartialFailure as failure:
        # The run that uses this stage lists the same subjects at its end.
        say(f"first stage: {str(failure).splitlines()[0]}")

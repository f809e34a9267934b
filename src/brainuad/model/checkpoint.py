"""The model: weights and a card of plain values, never a pickled object; a file or a bundle."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from brainuad import __version__
from brainuad.errors import InputError
from brainuad.machine.files import atomic_path
from brainuad.machine.fingerprint import hash_weights
from brainuad.machine.limits import available_bytes, require_file, require_honest, require_memory
from brainuad.machine.text import one_line
from brainuad.methods.base import AnomalyDetector
from brainuad.methods.parts.relative_to_healthy import RelativeToHealthy
from brainuad.model.bundle import is_bundle, named_file, read_bundle
from brainuad.model.card import FORMAT, checked
from brainuad.settings.build import build
from brainuad.settings.upgraded import upgraded_weights


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint with `weights_only=True`.

    Raises:
        InputError: missing, damaged, or holding anything but tensors and plain values.
    """
    if not path.exists():
        raise InputError(f"{path}: no such checkpoint; check the path")
    require_file(path)
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as file:
                require_honest(path, file.infolist(), available_bytes())
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:
        # Damaged bytes reach many parts of torch, which fail in as many ways.
        line = one_line(error)[:200] or type(error).__name__
        raise InputError(f"{path}: not a readable checkpoint ({line}); copy it again") from None
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise InputError(f"{path}: holds no weights; give a checkpoint written by brainuad")
    return checkpoint


def save_model(detector: AnomalyDetector, path: Path) -> None:
    """Writes weights and card, atomically."""
    content = {
        "state_dict": {name: value.cpu() for name, value in detector.state_dict().items()},
        "brainuad": {**detector.card, "version": __version__, "format": FORMAT},
    }
    # Into an open file: by its name torch would write the temporary name into the archive, and the
    # same weights would give other bytes every time.
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        torch.save(content, file)


def load_model(path: Path) -> AnomalyDetector:
    """Builds the detector that the card describes and fills in its weights.

    Args:
        path: a checkpoint, a run folder that holds one, or a bundle of `brainuad-export`.

    Raises:
        InputError: as `read_checkpoint` and `read_bundle`, no card, one of another major version
            or one that names foreign code, or weights that do not fit.
    """
    path = named_file(path)
    content = read_bundle(path) if is_bundle(path) else read_checkpoint(path)
    card = checked(path, content.get("brainuad"))
    weights = upgraded_weights(card["model"], content["state_dict"])
    detector = _built(path, card, weights)
    try:
        detector.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(
            f"{path}: its weights do not fit its model ({str(error).splitlines()[0]})"
        ) from None
    detector.card = card
    return detector


def _built(path: Path, card: Mapping[str, Any], weights: Mapping[str, Tensor]) -> AnomalyDetector:
    """The detector of a card, built once its size is known to be that of its weights."""
    try:
        # Without memory: a card may ask for any size.
        with torch.device("meta"):
            planned: AnomalyDetector = build(card["model"], kind=AnomalyDetector)
        # Buffers may grow with what was measured, such as an atlas; parameters never do.
        for name, value in planned.named_parameters():
            if not isinstance(weights.get(name), Tensor) or weights[name].shape != value.shape:
                raise InputError(f"its weights do not fit its model ({name:.80}, …)")
            # A network with a NaN marks nothing and says nothing: no value is above a threshold.
            if not bool(torch.isfinite(weights[name]).all()):
                raise InputError(f"its weights {name:.80} hold NaN or infinite values")
        buffers = sum(value.numel() * value.element_size() for value in planned.buffers())
        require_memory(buffers, path, "do not trust this file")
        detector = build(card["model"])
        detector.relative = build(card["relative"], kind=RelativeToHealthy | None)
    except InputError as error:
        raise InputError(f"{path}: {error}; do not use it, or get it again") from None
    return detector


def with_options(detector: AnomalyDetector, options: Mapping[str, Any]) -> AnomalyDetector:
    """A trained detector with other options of its model, such as `scores_by`, on its device.

    The copy is not relative to healthy brains: those statistics are of the detector's own maps.

    Args:
        detector: with a card; stays as it is.
        options: options of the card's `model`, by name; those of a group keep its other ones.

    Raises:
        InputError: the model has no such option.
    """
    model = dict(detector.card["model"])
    for name, value in options.items():
        within = isinstance(value, Mapping) and "_target_" not in value
        model[name] = {**(model.get(name) or {}), **value} if within else value
    made = build(model)
    made.load_state_dict(detector.state_dict())
    made.card = {**detector.card, "model": model}
    return made.to(detector.device)


def weights_hash(detector: AnomalyDetector) -> str:
    """SHA-256 over the names and values of all weights, the model's configuration and `flips`."""
    flips = " flips" if detector.card.get("flips") else ""
    return hash_weights(detector.state_dict(), about=f"{detector.card.get('model')!r}{flips}")

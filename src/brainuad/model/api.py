"""The Python interface: `brainuad.load(model).predict(scan)`."""

from collections.abc import Sequence
from pathlib import Path

from brainuad.errors import InputError
from brainuad.methods.base import AnomalyDetector
from brainuad.model.device import chosen_precision
from brainuad.model.device import device as device_of
from brainuad.model.ensemble import Ensemble
from brainuad.model.known import Known
from brainuad.model.model import Model
from brainuad.model.model_file import remember_hash
from brainuad.model.runtime import Runtime
from brainuad.shipped import resolved


def load(
    *models: str | Path,
    device: str = "auto",
    batch_size: int | None = None,
    samples: int | None = None,
    threshold: float | str | None = None,
    precision: str = "32-true",
    preparation: Sequence[str] = (),
    sequence: str | None = None,
) -> Model | Ensemble:
    """Load a model, or several that are averaged.

    Args:
        models: a checkpoint (`model.ckpt`), a run folder or a bundle. Maps of several models are
            averaged: those of folds as they are, those of different methods after division by each
            model's threshold. Or the name of a model that comes with brainuad
            (`brainuad.models()`), such as `universal`; an existing path of that name wins.
        device: `auto`, `cpu`, `cuda`, ….
        batch_size: tiles per forward pass; None for as many as fit the memory.
        samples: number of random draws per scan, for methods that draw; None for the model's own
            number.
        threshold: a number, or `scan`, `mebin` or `fixed`, in place of the model's own
            (docs/explanation/protocol.md#threshold-variants). `fixed` is the default of models that
            come with brainuad.
        precision: `32-true`, or faster `bf16-mixed` or `16-mixed`; `auto` for `bf16-mixed`
            where the machine computes in it.
        preparation: changes of the preparation, `preparation.steps.KEY=VALUE`; see
            `brainuad.preparation.recipes.changed`.
        sequence: sequence of the scans; it chooses among the models that come with brainuad.

    Raises:
        InputError: a model that cannot be read, or models that do not fit together.
    """
    if not models:
        raise InputError("no model; give a model.ckpt or a bundle")
    if batch_size is not None and batch_size < 1:
        raise InputError(f"batch size is {batch_size}; use 1 or more")
    paths = [resolved(model, sequence) for model in models]
    place = device_of(device)
    runtime = Runtime(place, chosen_precision(precision, place), batch_size)
    loaded = [Model.load(path, runtime) for path in paths]
    cards = [model.card for model in loaded]
    known = Known(paths, cards, threshold, samples, runtime.precision, preparation, sequence)
    known.weights = [model.weights_hash for model in loaded]
    for path, model, found in zip(known.paths, loaded, known.weights, strict=True):
        remember_hash(path, found)
        if samples is not None:
            _draw(model.method, path, samples)
        model.method.keeps_draws = True
        model.on_device()
    # Errors of the card come before a scan is read.
    _ = known.steps, loaded[0].postprocess
    if len(loaded) > 1:
        return Ensemble(tuple(loaded), known)
    loaded[0].known = known
    return loaded[0]


def _draw(method: AnomalyDetector, path: Path, samples: int) -> None:
    """Set the number of random draws.

    Raises:
        InputError: the method draws nothing, or the number is too small.
    """
    if not method.traits.samples:
        raise InputError(f"{path}: {type(method).__name__} draws nothing; leave --samples out")
    if samples < 2:
        raise InputError(f"samples is {samples}; a standard deviation takes two or more")
    setattr(method, "n_samples", samples)  # noqa: B010  (a module's type says tensors)

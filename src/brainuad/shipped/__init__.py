"""Models that come with the package, found by name and sequence.

`models.json` lists the bundles beside it: name, sequences, hash, origin and licence of the weights,
and measured scores. `experiments/universal/ship.py` adds one.
"""

from dataclasses import dataclass
from pathlib import Path

from brainuad.cohorts.words import canonical
from brainuad.errors import InputError
from brainuad.machine.read import read_json
from brainuad.machine.text import say
from brainuad.records.fields import from_plain

FOLDER = Path(__file__).parent
INDEX = FOLDER / "models.json"
DEMO = FOLDER / "demo_FLAIR.nii.gz"
"""A synthetic head with lesions, which `experiments/universal/demo_head.py` makes."""

DEFAULT = "universal"
"""Name of the default model."""

SENSITIVITY = {"low": 0.7, "default": 0.5, "high": 0.3}
"""Smallest probability of a marked voxel."""


@dataclass(frozen=True)
class ShippedModel:
    """A model in the package.

    Attributes:
        name: name for `brainuad.load` and `--model`.
        sequence: sequence of the scans that it is for.
        file: file name of the bundle, in `FOLDER`.
        sha256: hash of that file.
        size: size of that file in bytes.
        source: training data and method.
        data_licence: licence of the training data.
        licence: licence of the weights.
        scores: measured scores per cohort of people.
        untested: further sequences that it accepts without a test on real people.
    """

    name: str
    sequence: str
    file: str
    sha256: str
    size: int
    source: str
    data_licence: str
    licence: str
    scores: dict[str, dict[str, float]]
    untested: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """Path of the bundle."""
        return FOLDER / self.file

    @property
    def takes(self) -> tuple[str, ...]:
        """Return its sequence and the untested ones."""
        return (self.sequence, *self.untested)


def models() -> tuple[ShippedModel, ...]:
    """Return the models in the package."""
    listed = read_json(INDEX, "install brainuad again")["models"]
    return tuple(from_plain(ShippedModel, entry, str(INDEX)) for entry in listed)


def shipped(name: str = DEFAULT, sequence: str | None = None) -> ShippedModel:
    """Return the model of that name for a sequence.

    Args:
        name: name of a model.
        sequence: sequence of the scans; None for the first one of that name, which is printed.

    Raises:
        InputError: no such model, or none for the sequence.
    """
    named = [model for model in models() if model.name == name]
    if not named:
        known = ", ".join(sorted({model.name for model in models()}))
        raise InputError(f"{name}: no such file, and no model that comes with brainuad ({known})")
    sequences = ", ".join(sequence for model in named for sequence in model.takes)
    if sequence is None:
        if len(named) > 1:
            own = ", ".join(model.sequence for model in named)
            say(f"note: {name} comes for {own}; this is the one for {named[0].sequence}")
        return named[0]
    for model in named:
        if canonical(sequence) in model.takes:
            return model
    raise InputError(f"{name}: comes for {sequences}, not for {sequence}; train a model of it")


def resolved(model: str | Path, sequence: str | None = None) -> Path:
    """Return the path of a model given by path or name; an existing path wins.

    Raises:
        InputError: as `shipped`.
    """
    path = Path(model)
    names = {known.name for known in models()}
    if path.exists() or str(model) not in names:
        if str(model) in names:
            say(f"note: {model} is taken for the path, not for the model that comes with brainuad")
        return path
    return shipped(str(model), sequence).path


def is_shipped(path: Path) -> bool:
    """Return whether a path is that of a model in the package."""
    return path.parent == FOLDER


def untested(path: Path, sequence: str | None) -> str:
    """Return the sequence if a shipped model takes it untested; otherwise an empty string."""
    name = "" if sequence is None else canonical(sequence)
    return name if any(name in model.untested for model in models() if model.path == path) else ""

"""Models that come with the package, found by name and sequence.

`models.json` lists the bundles that lie beside it: name, sequences, hash, where the weights come
from, their licence, and what was measured. `experiments/universal/ship.py` adds one.
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
"""The model for scans of people without a healthy cohort."""

SENSITIVITY = {"low": 0.7, "default": 0.5, "high": 0.3}
"""Probability from which a voxel is marked."""


@dataclass(frozen=True)
class ShippedModel:
    """A model in the package.

    Attributes:
        name: what `brainuad.load` and `--model` take.
        sequence: sequence of the scans that it is for.
        file: file name of the bundle, in `FOLDER`.
        sha256: hash of that file.
        size: size of that file in bytes.
        source: what it was trained on and how.
        data_licence: licence of the training data.
        licence: licence of the weights.
        scores: cohort of people to what was measured there.
        untested: further sequences whose scans it takes, though it was tried on no such person.
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
        """Its sequence and the untested ones."""
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
    """Return the path of a model that is given by path or by name; an existing path wins.

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
    """Return the sequence where a model in the package takes it untested; else nothing."""
    name = "" if sequence is None else canonical(sequence)
    return name if any(name in model.untested for model in models() if model.path == path) else ""

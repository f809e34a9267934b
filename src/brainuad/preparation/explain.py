"""Description of a preparation: each step, its parameters and effects."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from brainuad.preparation.pipeline import Preparation

FOREIGN = {
    "Orientationd": ("axes permuted and flipped, no interpolation", "kept"),
    "intensity": ("kept", "changed"),
    "spatial": ("changed, one more interpolation", "interpolated"),
    "croppad": ("cropped or padded", "kept"),
    "smooth_field": ("kept", "changed"),
}
"""Effects of MONAI's transforms on grid and intensities, by class or package."""


class Said(NamedTuple):
    """One step in words.

    Attributes:
        step: name in `preparation.steps`.
        transform: class and parameters.
        grid: effect on the grid.
        intensities: effect on the intensities.
    """

    step: str
    transform: str
    grid: str
    intensities: str


def explained(preparation: Preparation, normalise: Any) -> list[Said]:
    """Describe the steps of a preparation in order, normalisation at the end."""
    said = []
    for name, transform, given in preparation.transforms(list(preparation.reference)):
        grid, intensities = _effects(transform)
        how = _parameters(transform) if given is None else _listed(given)
        said.append(Said(name, f"{type(transform).__name__}({how})", grid, intensities))
    what = "to [0, 1] inside the brain"
    return [*said, Said("normalise", repr(normalise), "kept", what)]


def as_text(said: list[Said]) -> str:
    """Return the steps as lines for a terminal."""
    lines = []
    for number, one in enumerate(said, start=1):
        lines += [f"{number:2}. {one.step}: {one.transform}"]
        lines += [f"      grid: {one.grid}", f"      intensities: {one.intensities}"]
    return "\n".join(lines)


def _effects(transform: Any) -> tuple[str, str]:
    """Return the effects of a transform on the grid and on the intensities."""
    kind = type(transform)
    if "brainuad" in kind.__module__:
        return transform.effects
    package = kind.__module__.removeprefix("monai.transforms.").split(".")[0]
    return FOREIGN.get(kind.__name__) or FOREIGN.get(package, ("?", "?"))


def _parameters(transform: Any) -> str:
    """Return the parameters of a step: those of its engine where it has no others."""
    names = getattr(transform, "parameters", ())
    if names == ("by",):
        return repr(transform.by)
    values = {name: getattr(transform, name) for name in names}
    return _listed({name: value for name, value in values.items() if value is not None})


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in values.items())

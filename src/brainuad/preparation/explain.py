"""A preparation in words: each step, its parameters, and what it does to grid and intensities."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from brainuad.preparation.pipeline import Preparation

EFFECTS = {
    "LoadScand": ("the scan's own", "as in the file, with a background of 0"),
    "Orientationd": ("axes permuted and flipped, no interpolation", "kept"),
    "SkullStripd": ("kept", "kept; adds the brain mask"),
    "N4BiasFieldCorrectiond": ("kept", "divided by the bias field"),
    "MeasureScand": ("kept", "kept; measures brain volume, noise and mask border"),
    "ExtractBraind": ("kept", "0 outside the brain and below 0"),
    "RegisterBetweend": ("affine to the reference's world, no interpolation", "kept"),
    "AffineToAtlasd": ("affine to the atlas's world, no interpolation", "kept"),
    "DeformToAtlasd": ("the prepared grid, through affine and warp: the interpolation", "linear"),
    "PreparedGridd": ("the prepared grid: the interpolation, unless it is there", "linear"),
}
"""Effect of each of our steps on the grid and on the intensities."""

FOREIGN = {
    "intensity": ("kept", "changed"),
    "spatial": ("changed, one more interpolation", "interpolated"),
    "croppad": ("cropped or padded", "kept"),
    "smooth_field": ("kept", "changed"),
}
"""The same for MONAI's transforms, by the package that defines them."""


class Said(NamedTuple):
    """One step in words.

    Attributes:
        step: name in `preparation.steps`.
        transform: class and parameters.
        grid: what happens to the grid.
        intensities: what happens to the intensities.
    """

    step: str
    transform: str
    grid: str
    intensities: str


def explained(preparation: Preparation, normalise: Any) -> list[Said]:
    """Describe the steps of a preparation in order, normalisation at the end."""
    said = []
    for name, transform, given in preparation.transforms(list(preparation.reference)):
        kind = type(transform)
        package = kind.__module__.removeprefix("monai.transforms.").split(".")[0]
        grid, intensities = EFFECTS.get(kind.__name__) or FOREIGN.get(package, ("?", "?"))
        how = _parameters(transform) if given is None else _listed(given)
        said.append(Said(name, f"{kind.__name__}({how})", grid, intensities))
    what = "to [0, 1] inside the brain"
    return [*said, Said("normalise", repr(normalise), "kept", what)]


def as_text(said: list[Said]) -> str:
    """Return the steps as lines for a terminal."""
    lines = []
    for number, one in enumerate(said, start=1):
        lines += [f"{number:2}. {one.step}: {one.transform}"]
        lines += [f"      grid: {one.grid}", f"      intensities: {one.intensities}"]
    return "\n".join(lines)


def _parameters(transform: Any) -> str:
    """The arguments that say how: of the step's engine where it has one."""
    own = {
        "SkullStripd": ("by",),
        "N4BiasFieldCorrectiond": ("by",),
        "RegisterBetweend": ("by",),
        "AffineToAtlasd": ("by", "atlas_image"),
        "DeformToAtlasd": ("by", "spacing_mm", "margin_mm"),
        "PreparedGridd": ("space", "spacing_mm", "margin_mm", "atlas_image"),
    }.get(type(transform).__name__, ())
    if own == ("by",):
        return repr(transform.by)
    values = {name: getattr(transform, name) for name in own}
    return _listed({name: value for name, value in values.items() if value is not None})


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in values.items())

"""Everything about a model that its exported network does not hold, as plain values."""

from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from brainuad import __version__
from brainuad.cohorts.places import as_plain
from brainuad.model.card import Card
from brainuad.model.export import shared_card
from brainuad.model.model import Model
from brainuad.preparation.model_input import NormalisedInput
from brainuad.preparation.tissue.segment import TissueInput
from brainuad.settings.allowed import RECIPE
from brainuad.settings.build import TARGET, build
from brainuad.shipped import SENSITIVITY, is_shipped
from brainuad.volumes.tiling import PLANES

AXES = "RAS: the first index grows to the patient's right, then anterior, then superior"

NORMALISERS = {
    "Percentile": "clip((x - low) / (high - low), 0, 1); low and high are percentiles of the "
    "brain's voxels, linearly interpolated",
    "ZScore": "clip((x - (mean + low std)) / ((high - low) std), 0, 1) with mean and standard "
    "deviation of the brain's voxels",
    "Mode": "clip(x value / mode, 0, 1); mode is the peak of the smoothed histogram of the brain",
    "Equalise": "rank within the brain, in (0, 1], ties the highest",
    "Nyul": "piecewise linear from the brain's percentiles to the standard, clipped to [0, 1]",
    "VolumeQuantiles": "x = max(x, 0); clip((x - low) / (high - low), 0, 1); low and high are "
    "quantiles of the whole volume, its background of 0 included, linearly interpolated",
    "StandardRange": "clip(x, mean + low std, mean + high std) / ((high - low) std) with mean and "
    "standard deviation of the whole volume, its background of 0 included",
    "PositivePercentile": "x / percentile of the voxels above 0; not clipped",
    "VolumeMaximum": "min(x, cut) / max of that; cut is a percentile of the whole volume, its "
    "background of 0 included",
}
"""Each normalisation in words; x is 0 outside the brain before and after it."""


def model_facts(card: Card) -> dict[str, Any]:
    """Return names, licence and origin of a model."""
    return {
        "name": card.name,
        "method": card.model.get(TARGET, "").rpartition(".")[2],
        "sequences": list(card.channels),
        "cohort": card.cohort,
        "about": card.about,
        "licence": card.licence,
        "weights_sha256": card.weights_sha256,
        "brainuad": __version__,
        "use": "research; not a medical device",
    }


def normalisation(model: Model) -> dict[str, Any]:
    """Return how the intensities of the method's input are made."""
    if isinstance(model.view, TissueInput):
        return {
            **options(model.view),
            "rule": "tissue class from dark to bright, over the number of classes; made by "
            "brainuad.preparation.tissue",
        }
    own = options(normaliser(model))
    return {**own, "rule": NORMALISERS.get(own["kind"], "see brainuad")}


def normaliser(model: Model) -> Any:
    """Return the normaliser of the image; of several channels with their own, the first one's."""
    if isinstance(model.view, NormalisedInput):
        return model.view.by
    return build(next(iter(model.card.recipe.normalisers.values())), RECIPE)


def space(model: Model) -> dict[str, Any]:
    """Return axes, world and grid of the input."""
    recipe, grid = model.card.recipe, model.method.grid
    found: dict[str, Any] = {
        "axes": AXES,
        "spacing_mm": recipe.spacing_mm,
        "world": "MNI152" if recipe.in_mni else "the scan's own, or that of the user's atlas",
    }
    if grid is not None:
        found["grid"] = as_plain(grid)
        found["resample"] = (
            "after the normalisation, linearly to this grid, 0 outside. Where the scan is finer, "
            "smooth it before by a Gaussian, for voxels of s mm and a grid of g mm of sigma = "
            "sqrt(g**2 - s**2) / 2.355 mm along each axis. The brain mask alike, then >= 0.5. The "
            "map goes back the same way, and is 0 outside the scan's brain mask"
        )
    return found


def preparation(card: Card) -> dict[str, Any]:
    """Return the preparation before the normalisation."""
    recipe = card.recipe
    steps = "brain extraction, bias field correction"
    if recipe.registered:
        steps += ", registration to the atlas"
    if recipe.of_slices:
        steps = "2D images as they are, at the pixel size"
    return {"in_words": steps, "steps": recipe.steps, "by": "brainuad-prepare"}


def tiling(model: Model) -> dict[str, Any]:
    """Return how a volume is cut into the network's inputs, and joined."""
    found = {**options(model.tiling), "flips": model.card.flips}
    if found.get("size") is not None:
        found["rule"] = (
            "frames of `size`, padded with zeros to both sides where the volume is smaller "
            "(floor of the half before it); else the fewest frames that cover it, evenly spread "
            "from end to end: start i is round(i (length - size) / (count - 1)). With `crop` one "
            "frame in the middle. Overlaps are averaged, and several planes. A frame without "
            "brain scores 0"
        )
    if axes := plane_axes(model):
        found["axis_of_plane"] = axes
    if model.card.flips:
        found["flips_rule"] = "average with the map of the left-right mirror image, mirrored back"
    quantile = bright_quantile(model)
    if quantile is not None:
        found["keep_bright"] = {
            "quantile": quantile,
            "rule": "set the map to 0 where the image is below this quantile of the whole array",
        }
    return found


def plane_axes(model: Model) -> dict[str, int]:
    """Return the axis that the slices of each plane fix; empty for volumes."""
    own = options(model.tiling)
    planes = own.get("planes") or ([own["plane"]] if "plane" in own else [])
    return {name: PLANES[name] - 1 for name in planes}


def bright_quantile(model: Model) -> float | None:
    """Return the quantile below which a scan's map is cleared; None for none."""
    found: float | None = getattr(model.method, "bright_quantile", None)
    return found


def postprocessing(model: Model) -> dict[str, Any]:
    """Return the steps from the map to the mask."""
    own = model.postprocess
    threshold: dict[str, Any] = {"value": model.known.threshold, "rule": "map > value"}
    if is_shipped(model.path):
        threshold["sensitivity"] = SENSITIVITY
    return {
        "order": "map_steps, threshold, mask_steps",
        "map_steps": [options(step) for step in own.map_steps],
        "threshold": threshold,
        "mask_steps": [options(step) for step in own.mask_steps],
        "masks_last": own.masks_last,
        "binarise": options(own.binarise),
        "where": "brainuad smooths on the prepared grid, resamples the map linearly to the scan's "
        "own grid, and takes threshold and mask steps there",
    }


def options(part: Any) -> dict[str, Any]:
    """Return the class and the arguments of a part, those by default too."""
    kind = getattr(part, "__name__", type(part).__name__)
    own = asdict(part) if is_dataclass(part) and not isinstance(part, type) else {}
    return {"kind": kind, **own}


def shared_model(run: Path, licence: str | None) -> Model:
    """Return a trained model with the card that others see; its file stays known.

    Args:
        run: run folder, `model.ckpt` or bundle.
        licence: licence of the weights; None for that of the card.
    """
    model = Model.load(run)
    card = shared_card(model, run, licence)
    shared = Model(model.method, card, model.tiling, model.view, model.relative, model.runtime)
    shared.path = model.path
    return shared

"""Everything about a model that its exported network does not hold, as plain values."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from brainuad import __version__
from brainuad.cohorts.places import as_plain
from brainuad.model.card import Card
from brainuad.model.known import Known
from brainuad.model.model import Model
from brainuad.settings.build import TARGET
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


def normalisation(card: Card) -> dict[str, Any]:
    """Return how the intensities of the method's input are made."""
    if card.input.get("tissue"):
        return {
            "kind": "TissueInput",
            **_options(card.input["tissue"]),
            "rule": "tissue class from dark to bright, over the number of classes; made by "
            "brainuad.preparation.tissue",
        }
    own = card.input.get("normalise") or next(iter(card.recipe.normalisers.values()))
    kind = own[TARGET].rpartition(".")[2]
    return {"kind": kind, **_options(own), "rule": NORMALISERS.get(kind, "see brainuad")}


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
            "after the normalisation: linear, 0 outside, to this grid; before that smooth by a "
            "Gaussian where the scan is finer: sigma = sqrt(max(2**2 - 1**2, 0)) / 2.355 mm for "
            "voxels of 1 mm to 2 mm, per axis. The brain mask alike, then >= 0.5. The map goes "
            "back the same way, linear without smoothing, and is 0 outside the scan's brain mask"
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
    own = model.card.tiling
    kind = own[TARGET].rpartition(".")[2]
    found: dict[str, Any] = {"kind": kind, **_options(own), "flips": model.card.flips}
    if kind != "VolumeTiling" or own.get("size"):
        found["rule"] = (
            "frames of `size`, padded with zeros to both sides where the volume is smaller "
            "(floor of the half before it); else the fewest frames that cover it, evenly spread "
            "from end to end: start i is round(i (length - size) / (count - 1)). With `crop` one "
            "frame in the middle. Overlaps are averaged, and several planes. A frame without "
            "brain scores 0"
        )
    if planes := own.get("planes") or ([own["plane"]] if "plane" in own else None):
        found["axis_of_plane"] = {name: PLANES[name] - 1 for name in planes}
    if model.card.flips:
        found["flips_rule"] = "average with the map of the left-right mirror image, mirrored back"
    quantile = model.card.model.get("bright_quantile")
    if quantile is not None:
        found["keep_bright"] = {
            "quantile": quantile,
            "rule": "set the map to 0 where the image is below this quantile of the whole array",
        }
    return found


def postprocessing(model: Model) -> dict[str, Any]:
    """Return the steps from the map to the mask."""
    own = model.card.postprocess
    known = model.known
    steps: dict[str, Any] = {
        "order": "map_steps, threshold, mask_steps",
        "map_steps": [_step(step) for step in own.get("map_steps", [])],
        "threshold": {"value": known.threshold, "rule": "map > value"},
        "mask_steps": [_step(step) for step in own.get("mask_steps", [])],
        "masks_last": bool(own.get("masks_last")),
        "binarise": _step(own["binarise"]) if isinstance(own.get("binarise"), Mapping) else "above",
        "where": "brainuad smooths on the prepared grid, resamples the map linearly to the scan's "
        "own grid, and takes threshold and mask steps there",
    }
    if is_shipped(model.path):
        steps["threshold"]["sensitivity"] = SENSITIVITY
    return steps


def with_fixed(model: Model, card: Card) -> Model:
    """Return the model with the card that others see; its file stays known."""
    shared = Model(model.method, card, model.tiling, model.view, model.relative, model.runtime)
    shared.path = model.path
    shared.known = Known([model.path], [replace(card)])
    return shared


def _step(config: Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": config[TARGET].rpartition(".")[2], **_options(config)}


def _options(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if not key.startswith("_")}

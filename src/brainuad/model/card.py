"""The card of a checkpoint: plain values that say what was trained, on whom and how."""

import json
import re
from collections.abc import Callable, Collection, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from brainuad.cohorts.manifest import Cohort, joined
from brainuad.errors import InputError
from brainuad.preparation.recipes import Recipe, of_cohort
from brainuad.settings.allowed import MODEL, RECIPE
from brainuad.settings.build import check_targets
from brainuad.settings.moved import retargeted
from brainuad.settings.plain import plain
from brainuad.settings.upgraded import upgraded

FORMAT = "1.5"
"""Of the card: a new minor version adds keys, a new major one breaks with the old."""

ADDED = {
    **{"format": "1.0", "input": {"tissue": None}, "preparation": None, "statistics": None},
    **{"flips": False, "relative": None, "grid": None, "thresholds": {}},
}
"""Keys that cards of older minor versions lack, and what stands for them."""

CARD_KEYS = ("version", "model", "tiling", "postprocess", "sequence", "subjects")

BUILT = ("model", "input", "tiling", "postprocess", "relative")
"""Keys of which something is made when the model is loaded."""

SEQUENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
"""Name of a sequence, or of several: it becomes a part of file names."""

RESULT_KEYS = ("seed", "data", "input", "model", "tiling", "datamodule")
"""What must agree between a checkpoint and the run that resumes from it, under whatever name."""

NEUTRAL_KEYS = ("cache_dir", "jobs", "num_workers")
"""What may differ within: none of it changes a result."""


ADDED_SETTINGS = {
    **{"normalise": None, "heights": None, "slices_per_volume": None, "replace": False},
    **{"matmul_precision": "highest", "crop": False, "allow_unused": False},
    **{"donors_by_height": False, "whole_image": False},  # FPI
}
"""Settings that older runs lack, and what stands for them."""


def same_training(one: Any, other: Any, detection_options: Collection[str] = ()) -> bool:
    """Return whether two settings of a key of `RESULT_KEYS` train the same, however they score.

    Args:
        one: plain values.
        other: plain values.
        detection_options: settings of a model that do not count, see `Traits`.
    """
    one, other = (without_added(upgraded(retargeted(value))) for value in (one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        one, other = (
            {key: item for key, item in value.items() if key not in detection_options}
            for value in (one, other)
        )
    return bool(one == other)


def checked(path: Path, card: Any) -> dict[str, Any]:
    """Return the card of a model file, with what older minor versions lack.

    Args:
        path: of the file, for messages.
        card: as it was read.

    Raises:
        InputError: no card, one of another major version, or one that is not plain data or lacks
            what it should have; each violation is named.
    """
    try:
        card = plain(card)
    except ValueError as error:
        raise InputError(f"{path}: its card is no plain data: {error}; do not use it") from None
    missing = [key for key in CARD_KEYS if not isinstance(card, dict) or key not in card]
    if not isinstance(card, dict) or missing:
        raise InputError(f"{path}: its card lacks {missing}; train it again with brainuad")
    card = {**ADDED, **card, "model": upgraded(card["model"])}
    major = FORMAT.partition(".")[0]
    if str(card["format"]).partition(".")[0] != major:
        raise InputError(
            f"{path}: is of format {card['format']}, this brainuad reads {major}.x; use the "
            "version of brainuad that made it"
        )
    if wrong := [
        f"{key} is not {words}"
        for key, (is_right, words) in SCHEMA.items()
        if key in card and not is_right(card[key])
    ]:
        raise InputError(f"{path}: its card is not valid: {'; '.join(wrong)}; do not use it")
    for key, value in card.items():
        if key in BUILT:
            check_targets(value, MODEL, f"{path}: {key}")
    if card["preparation"]:
        check_targets(card["preparation"], RECIPE, f"{path}: preparation")
    return card


def _is_made(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("_target_"), str)


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_threshold(name: Any, value: Any) -> bool:
    """One number; of `mebin` lowest and highest, of `scan` also the quantile of its scale."""
    pair = name in ("scan", "mebin")
    values = value if pair and isinstance(value, list) else [value]
    known = all(_is_number(one) and isfinite(one) for one in values)
    return len(values) == 1 + pair and known and (name != "scan" or 0 < values[1] < 1)


def _is_grid(values: Any) -> bool:
    """Whether these are the three lengths and the affine of a grid that a head can lie on."""
    if not isinstance(values, dict) or set(values) != {"shape", "affine"}:
        return False
    try:
        shape, affine = list(values["shape"]), np.array(values["affine"], dtype=float)
    except (TypeError, ValueError):
        return False
    return (
        len(shape) == 3
        and all(type(n) is int and 0 < n <= 4096 for n in shape)
        and affine.shape == (4, 4)
        and bool(np.isfinite(affine).all())
        and abs(float(np.linalg.det(affine[:3, :3]))) > 1e-9
        and np.array_equal(affine[3], [0, 0, 0, 1])
    )


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable()


def _are_subjects(value: Any) -> bool:
    lists = value.values() if isinstance(value, dict) else [None]
    return value is None or all(
        isinstance(names, list) and all(isinstance(name, str) for name in names) for names in lists
    )


def _is_recipe(value: dict[str, Any]) -> bool:
    """Whether all parts are there; channels may be normalised each in its way."""
    normalise: Any = value.get("normalise")
    channels = isinstance(normalise, dict) and not _is_made(normalise)
    ways = list(normalise.values()) if channels else [normalise]
    return all(map(_is_made, [value.get("steps"), value.get("limits"), *ways]))


def _are_settings_of_data(value: Any) -> bool:
    """Whether the settings of a run's data are a table, with a name of each channel."""
    names = value.get("sequence", "T1w") if isinstance(value, dict) else None
    names = names if isinstance(names, list) and names else [names]
    return all(_is_name(name) and SEQUENCE.fullmatch(name) is not None for name in names)


def _are_statistics(value: dict[str, Any]) -> bool:
    """Whether they are as `brainuad.model.suitability.training_statistics` gives them."""
    measures, spacing = value.get("measures"), value.get("spacing_mm")
    if not isinstance(measures, dict) or not (spacing is None or _is_number(spacing)):
        return False
    percentiles: Any = value.get("percentiles")
    quantiles: Any = value.get("quantiles")
    return (
        all(map(_are_numbers, [percentiles, quantiles, value.get("scores"), *measures.values()]))
        and len(quantiles) in (0, len(percentiles))
        and all(0 <= percentile <= 100 for percentile in percentiles)
    )


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_number, value))


SCHEMA: dict[str, tuple[Callable[[Any], bool], str]] = {
    "version": (_is_name, "a version"),
    "model": (_is_made, "a model"),
    "tiling": (_is_table, "a tiling"),
    "postprocess": (_is_table, "a post-processing"),
    "input": (lambda v: isinstance(v, dict) and "tissue" in v, "an input"),
    "sequence": (lambda v: _is_name(v) and SEQUENCE.fullmatch(v) is not None, "a sequence"),
    "space": (lambda v: v in ("native", "prepared"), "native or prepared"),
    "flips": (lambda v: isinstance(v, bool), "true or false"),
    "relative": (lambda v: v is None or _is_made(v), "a table of healthy brains, or null"),
    "grid": (lambda v: v is None or _is_grid(v), "a grid, or null"),
    "seed": (lambda v: v is None or _is_number(v), "a number"),
    "name": (_is_name, "a name"),
    "cohort": (_is_name, "a name"),
    "split_hash": (lambda v: v is None or isinstance(v, str), "a hash"),
    "subjects": (_are_subjects, "lists of names"),
    "preparation": (
        lambda v: v is None or v == {} or (isinstance(v, dict) and _is_recipe(v)),
        "a recipe",
    ),
    "run": (lambda v: _is_table(v) and _are_settings_of_data(v.get("data", {})), "a run"),
    "threshold": (lambda v: v is None or _is_number(v), "a number"),
    "thresholds": (
        lambda v: isinstance(v, dict) and all(map(_is_threshold, v, v.values())),
        "thresholds by name",
    ),
    "checks": (
        lambda v: _is_table(v) and all(map(_is_number, v.values())),
        "numbers by name",
    ),
    "statistics": (
        lambda v: v is None or (isinstance(v, dict) and _are_statistics(v)),
        "statistics of a training cohort, or null",
    ),
}
"""Key of a card: whether its value is right, and what it should be."""


def sequences_of(card: dict[str, Any]) -> tuple[str, ...]:
    """The sequence of each channel that a model takes."""
    named = card.get("run", {}).get("data", {}).get("sequence")
    return tuple(named) if isinstance(named, list) else (str(card["sequence"]),)


def preparation_of(cohort: Cohort, sequence: str | Sequence[str]) -> Recipe | None:
    """How the cohort's scans of a sequence, or of each channel, were prepared; None if not known.

    Channels that were normalised in different ways have a dictionary of them by sequence.
    """
    names = [sequence] if isinstance(sequence, str) else sequence
    recipes = {name: of_cohort(cohort, name) for name in names}
    first = recipes[names[0]]
    normalise = {name: recipe["normalise"] for name, recipe in recipes.items() if recipe}
    if first is None or len(normalise) < len(names):
        return None
    alike = all(one == first["normalise"] for one in normalise.values())
    return first if alike else {**first, "normalise": normalise}


def card_of(config: dict[str, Any], cohort: Cohort, preparation: Any) -> dict[str, Any]:
    """The card of a run.

    Args:
        config: of the run, resolved.
        cohort: of the run.
        preparation: how its scans were prepared, plain values.
    """
    subjects = {
        split: sorted({s.who for s in cohort.scans if s.split == split and s.healthy})
        for split in ("train", "val")
    }
    run = _without({key: config[key] for key in RESULT_KEYS}, NEUTRAL_KEYS)
    return {
        "model": upgraded(config["model"]),
        "input": config["input"],
        "tiling": config["tiling"],
        "postprocess": config["postprocess"],
        "sequence": joined(config["data"]["sequence"]),
        "space": config["space"],
        "flips": config["flips"],
        "relative": config["relative"],
        "seed": config["seed"],
        "name": config["name"],
        "cohort": cohort.name,
        "split_hash": cohort.split_hash(),
        "subjects": subjects,
        "preparation": preparation,
        # Through JSON, so that what was resolved and what was loaded compare equal.
        "run": json.loads(json.dumps(run, default=str)),
    }


def without_added(value: Any) -> Any:
    """Settings less those of `ADDED_SETTINGS` that are as if they were not there."""
    if not isinstance(value, dict):
        return value
    lacking = [key for key, usual in ADDED_SETTINGS.items() if key in value and value[key] == usual]
    return {key: without_added(item) for key, item in value.items() if key not in lacking}


def _without(value: Any, keys: Collection[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(item, keys) for key, item in value.items() if key not in keys}
    return value

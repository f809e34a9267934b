"""Checks of the values of a card, which a stranger may have written."""

import re
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from brainuad.errors import InputError
from brainuad.settings.allowed import MODEL, RECIPE
from brainuad.settings.build import check_targets
from brainuad.settings.plain import plain

FORMAT = "1.5"
"""Version of the card. A new minor version adds keys; old code cannot read a new major one."""

CARD_KEYS = ("version", "model", "tiling", "postprocess", "sequence", "subjects")
"""Keys that every card has."""

BUILT = ("model", "input", "tiling", "postprocess", "relative")
"""Keys of the objects that are built when the model is loaded."""

SEQUENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
"""Name of a sequence, or of several joined: it becomes part of file names."""


def checked(path: Path, card: Any) -> dict[str, Any]:
    """Return the values of a card once they are checked as `Card.from_json` says."""
    try:
        card = plain(card)
    except ValueError as error:
        raise InputError(f"{path}: its card is no plain data: {error}; do not use it") from None
    missing = [key for key in CARD_KEYS if not isinstance(card, dict) or key not in card]
    if not isinstance(card, dict) or missing:
        raise InputError(f"{path}: its card lacks {missing}; train it again with brainuad")
    major, own = FORMAT.partition(".")[0], card.get("format", "1.0")
    if str(own).partition(".")[0] != major:
        raise InputError(
            f"{path}: is of format {own}, this brainuad reads {major}.x; use the "
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
    if card.get("preparation"):
        check_targets(card["preparation"], RECIPE, f"{path}: preparation")
    return card


def _is_made(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("_target_"), str)


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_threshold(name: Any, value: Any) -> bool:
    """Return whether a threshold is one number, or for `mebin` and `scan` a list of two.

    Those of `mebin` are the lowest and the highest; of `scan` the second is a quantile.
    """
    pair = name in ("scan", "mebin")
    values = value if pair and isinstance(value, list) else [value]
    known = all(_is_number(one) and isfinite(one) for one in values)
    return len(values) == 1 + pair and known and (name != "scan" or 0 < values[1] < 1)


def _is_grid(values: Any) -> bool:
    """Return whether these are three lengths and an invertible affine."""
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
    """Return whether a recipe has all its parts; each channel may have its own normalisation."""
    normalise: Any = value.get("normalise")
    channels = isinstance(normalise, dict) and not _is_made(normalise)
    ways = list(normalise.values()) if channels else [normalise]
    return all(map(_is_made, [value.get("steps"), value.get("limits"), *ways]))


def _are_settings_of_data(value: Any) -> bool:
    """Return whether the data settings of a run are a table that names each channel."""
    names = value.get("sequence", "T1w") if isinstance(value, dict) else None
    names = names if isinstance(names, list) and names else [names]
    return all(_is_name(name) and SEQUENCE.fullmatch(name) is not None for name in names)


def _are_statistics(value: dict[str, Any]) -> bool:
    """Return whether these have the form of `brainuad.model.suitability.training_statistics`."""
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
        lambda v: v is None or (_is_table(v) and all(map(_is_number, v.values()))),
        "numbers by name",
    ),
    "statistics": (
        lambda v: v is None or (isinstance(v, dict) and _are_statistics(v)),
        "statistics of a training cohort, or null",
    ),
    **dict.fromkeys(("licence", "weights_sha256", "about"), (_is_text, "text")),
    **dict.fromkeys(("first_stage", "quality", "exported_with"), (_is_table, "a table")),
    "scores": (lambda v: isinstance(v, list) and all(map(_is_table, v)), "rows of scores"),
}
"""Check of each key of a card, and the words for what it should be."""

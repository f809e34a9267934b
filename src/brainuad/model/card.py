"""The card of a checkpoint: plain values that say what was trained, on whom and how."""

import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, fields
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from brainuad import __version__
from brainuad.cohorts.manifest import Cohort, joined
from brainuad.errors import InputError
from brainuad.preparation.recipes import Recipe, default, of_cohort
from brainuad.settings.allowed import MODEL, RECIPE
from brainuad.settings.build import check_targets
from brainuad.settings.moved import retargeted
from brainuad.settings.plain import plain
from brainuad.settings.upgraded import upgraded

FORMAT = "1.5"
"""Of the card: a new minor version adds keys, a new major one breaks with the old."""

CARD_KEYS = ("version", "model", "tiling", "postprocess", "sequence", "subjects")
"""Keys that a card cannot do without."""

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


@dataclass(frozen=True)
class Card:
    """What was trained, on whom and how; travels with the weights as plain values.

    Attributes:
        model: configuration of the method.
        tiling: configuration of the tiling.
        postprocess: configuration of the post-processing.
        sequence: sequence of the scans; of several channels one name.
        subjects: names of the healthy subjects of `train` and `val`; None where they are withheld.
        version: version of brainuad that wrote it.
        format: version of the card.
        input: what the method sees of a scan, see `brainuad.preparation.model_input.input_of`.
        preparation: how to prepare a raw scan; None where the cohort does not tell.
        statistics: see `brainuad.model.suitability.training_statistics`.
        flips: whether the left-right mirror image is scored as well.
        relative: configuration of what scores are relative to.
        grid: grid of the training scans, of methods that know places.
        threshold: healthy threshold; None for none.
        thresholds: further thresholds by name (docs/protocol.md#threshold-variants).
        space: where scores are computed, `native` or `prepared`.
        seed: seed of the training.
        name: name of the experiment.
        cohort: name of the cohort.
        split_hash: hash of the cohort's splits.
        run: settings that a resumed training must share.
        first_stage: quality, place and hash of the first stage.
        checks: numbers that the method's calibration returned; None before it.
        licence: licence of the weights.
        weights_sha256: their hash.
        scores: rows of the run's summary.
        exported_with: versions of the packages that exported it.
        about: what it was trained on, in words.
        more: keys of later minor versions.
    """

    model: dict[str, Any]
    tiling: dict[str, Any]
    postprocess: dict[str, Any]
    sequence: str
    subjects: dict[str, list[str]] | None
    version: str = ""
    format: str = FORMAT
    input: dict[str, Any] = field(default_factory=lambda: {"tissue": None})
    preparation: Recipe | None = None
    statistics: dict[str, Any] | None = None
    flips: bool = False
    relative: dict[str, Any] | None = None
    grid: dict[str, Any] | None = None
    threshold: float | None = None
    thresholds: dict[str, Any] = field(default_factory=dict)
    space: str = "native"
    seed: int | None = None
    name: str = ""
    cohort: str = ""
    split_hash: str | None = None
    run: dict[str, Any] = field(default_factory=dict)
    first_stage: dict[str, Any] | None = None
    checks: dict[str, Any] | None = None
    licence: str = ""
    weights_sha256: str = ""
    scores: list[dict[str, Any]] = field(default_factory=list)
    exported_with: dict[str, Any] = field(default_factory=dict)
    about: str = ""
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def channels(self) -> tuple[str, ...]:
        """The sequence of each channel."""
        named = self.run.get("data", {}).get("sequence")
        return tuple(named) if isinstance(named, list) else (self.sequence,)

    @property
    def recipe(self) -> Recipe:
        """The preparation; the default one at the model's spacing where none is known."""
        return self.preparation or default(self.run.get("data", {}).get("spacing_mm"))

    @property
    def trained_on(self) -> list[str]:
        """Subjects that are no test for the model."""
        return (self.subjects or {}).get("train", [])

    def to_json(self) -> dict[str, Any]:
        """Return plain values; what is as `from_json` has it without a key is left out."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        usual = vars(Card({}, {}, {}, "", None))
        more = values.pop("more")
        said = {key: value for key, value in values.items() if value != usual[key]}
        return {**{key: values[key] for key in CARD_KEYS}, **said, **more}

    @classmethod
    def from_json(cls, path: Path, values: Any) -> "Card":
        """Return the card of a model file.

        Args:
            path: of the file, for messages.
            values: as they were read; a stranger may have written them.

        Raises:
            InputError: no card, one of another major version, or one that is not plain data or
                lacks what it should have; each violation is named.
        """
        own = _checked(path, values)
        own["model"] = upgraded(own["model"])
        names = {entry.name for entry in fields(cls)} - {"more"}
        known = {key: value for key, value in own.items() if key in names}
        more = {key: value for key, value in own.items() if key not in names}
        return cls(**{"format": "1.0", **known}, more=more)


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


def _checked(path: Path, card: Any) -> dict[str, Any]:
    """Return the values of a card that is as `Card.from_json` asks for."""
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
    **dict.fromkeys(("licence", "weights_sha256", "about"), (_is_text, "text")),
    **dict.fromkeys(("first_stage", "checks", "quality", "exported_with"), (_is_table, "a table")),
    "scores": (lambda v: isinstance(v, list) and all(map(_is_table, v)), "rows of scores"),
}
"""Key of a card: whether its value is right, and what it should be."""


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


def card_of(config: dict[str, Any], cohort: Cohort, preparation: Recipe | None) -> Card:
    """Return the card of a run.

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
    own = ("input", "tiling", "postprocess", "space", "flips", "relative", "seed", "name")
    return Card(
        upgraded(config["model"]),
        **{key: config[key] for key in own},
        version=__version__,
        sequence=joined(config["data"]["sequence"]),
        cohort=cohort.name,
        split_hash=cohort.split_hash(),
        subjects=subjects,
        preparation=preparation,
        # Through JSON, so that what was resolved and what was loaded compare equal.
        run=json.loads(json.dumps(run, default=str)),
    )


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

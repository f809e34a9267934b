"""The card of a checkpoint: method, cohort and settings of its training, in plain values."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from brainuad import __version__
from brainuad.cohorts.manifest import Cohort, joined
from brainuad.model.card_schema import CARD_KEYS, FORMAT, checked
from brainuad.preparation.recipes import default, of_cohort
from brainuad.records.recipe import Recipe
from brainuad.records.statistics import TrainingStatistics
from brainuad.settings.moved import retargeted
from brainuad.settings.upgraded import upgraded

RESULT_KEYS = ("seed", "data", "input", "model", "tiling", "datamodule")
"""Settings that must agree between a checkpoint and the run that resumes from it."""

NEUTRAL_KEYS = ("cache_dir", "jobs", "num_workers")
"""Settings within these that may differ, because they change no result."""


ADDED_SETTINGS = {
    **{"normalise": None, "heights": None, "slices_per_volume": None, "replace": False},
    **{"matmul_precision": "highest", "crop": False, "allow_unused": False},
    **{"donors_by_height": False, "whole_image": False},  # FPI
}
"""Settings that older runs lack, and the values that older code used."""


@dataclass(frozen=True)
class Card:
    """Method, cohort and settings of a training, kept with the weights in plain values.

    Attributes:
        model: configuration of the method.
        tiling: configuration of the tiling.
        postprocess: configuration of the post-processing.
        sequence: sequence of the scans; of several channels one name.
        subjects: names of the healthy subjects of `train` and `val`; None where they are withheld.
        version: version of brainuad that wrote it.
        format: version of the card.
        input: input of the method, see `brainuad.preparation.model_input.input_of`.
        preparation: preparation of a raw scan; None where the cohort holds none.
        statistics: result of `brainuad.model.suitability.training_statistics`.
        flips: True also scores the left-right mirror image.
        relative: configuration of the scores relative to healthy brains; None for none.
        grid: grid of the training scans, for methods that depend on the position.
        threshold: healthy threshold; None for none.
        thresholds: further thresholds by name (docs/explanation/protocol.md#threshold-variants).
        space: grid of the scores, `native` or `prepared`.
        seed: seed of the training.
        name: name of the experiment.
        cohort: name of the cohort.
        split_hash: hash of the cohort's splits.
        run: settings that a resumed training must share.
        first_stage: quality, place and hash of the first stage.
        checks: numbers that the method's calibration returned; None before it.
        licence: licence of the weights.
        weights_sha256: hash of the weights.
        scores: rows of the run's summary.
        exported_with: versions of the packages that exported it.
        about: training data in words.
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
    preparation: dict[str, Any] | None = None
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
        """The preparation; where none is known, the default one at the model's spacing."""
        if self.preparation:
            return Recipe.from_json(self.preparation)
        return default(self.run.get("data", {}).get("spacing_mm"))

    @property
    def training_statistics(self) -> TrainingStatistics | None:
        """The statistics of the training cohort; None of an older model.

        Raises:
            InputError: a value of another type.
        """
        if not self.statistics:
            return None
        return TrainingStatistics.from_json(self.statistics, "statistics of a model")

    @property
    def trained_on(self) -> list[str]:
        """Subjects that are no test for the model."""
        return (self.subjects or {}).get("train", [])

    def to_json(self) -> dict[str, Any]:
        """Return plain values, without those that `from_json` sets for a missing key."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        usual = vars(Card({}, {}, {}, "", None))
        more = values.pop("more")
        said = {key: value for key, value in values.items() if value != usual[key]}
        return {**{key: values[key] for key in ("format", *CARD_KEYS)}, **said, **more}

    @classmethod
    def from_json(cls, path: Path, values: Any) -> "Card":
        """Return the card of a model file.

        Args:
            path: model file, for messages.
            values: values in the file; a stranger may have written them.

        Raises:
            InputError: no card, one of another major version, or one that is not plain data or
                lacks what it should have; each violation is named.
        """
        own = checked(path, values)
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


def preparation_of(cohort: Cohort, sequence: str | Sequence[str]) -> Recipe | None:
    """Return the preparation of a cohort's scans of a sequence or of channels; None if unknown.

    Channels that were normalised in different ways have a dictionary of them by sequence.
    """
    names = [sequence] if isinstance(sequence, str) else sequence
    recipes = {name: of_cohort(cohort, name) for name in names}
    first = recipes[names[0]]
    normalise = {name: recipe.normalise for name, recipe in recipes.items() if recipe}
    if first is None or len(normalise) < len(names):
        return None
    alike = all(one == first.normalise for one in normalise.values())
    return first if alike else replace(first, normalise=normalise)


def card_of(config: dict[str, Any], cohort: Cohort, preparation: Recipe | None) -> Card:
    """Return the card of a run.

    Args:
        config: configuration of the run, resolved.
        cohort: cohort of the run.
        preparation: preparation of its scans; None where it is unknown.
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
        preparation=None if preparation is None else preparation.to_json(),
        # Through JSON, so that what was resolved and what was loaded compare equal.
        run=json.loads(json.dumps(run, default=str)),
    )


def without_added(value: Any) -> Any:
    """Return settings without those of `ADDED_SETTINGS` that have the older code's value."""
    if not isinstance(value, dict):
        return value
    lacking = [key for key, usual in ADDED_SETTINGS.items() if key in value and value[key] == usual]
    return {key: without_added(item) for key, item in value.items() if key not in lacking}


def _without(value: Any, keys: Collection[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(item, keys) for key, item in value.items() if key not in keys}
    return value

"""Cards and choices of a trained model, or of several that are averaged, before they are loaded."""

import json
import math
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainuad.errors import InputError
from brainuad.model.card import Card, without_added
from brainuad.model.model_file import remember_hash, remembered_hash
from brainuad.preparation.recipes import changed
from brainuad.settings.moved import present_experiment, retargeted
from brainuad.shipped import is_shipped, untested

# They import SimpleITK, which a dry run does not need.
if TYPE_CHECKING:
    from brainuad.postprocess.pipeline import Postprocess
    from brainuad.postprocess.threshold import Threshold
    from brainuad.preparation.pipeline import Preparation
    from brainuad.preparation.slices import SlicePreparation

RENAMED_IN = (1, 4)
"""First format of cards whose models have the present names of experiments."""

VARIANTS = ("healthy", "scan", "mebin", "fixed")
"""Thresholds that a model may have (docs/explanation/protocol.md#threshold-variants)."""

SAME = ("sequence", "preparation", "postprocess")
"""Fields of the card in which averaged models must agree."""

KIND = ("model", "input", "relative")
"""Fields of the card that decide the scale of the scores."""

NOT_SCORING = ("optimizer", "scheduler")
"""Options of a method that change its training alone."""


class Known:
    """Cards and choices: with weights and scan, all that decides a prediction.

    Args:
        paths: model files, for messages.
        cards: cards of the models.
        threshold: a number in place of the models' thresholds, or one of `VARIANTS`; None for
            `healthy`, or for `fixed` with models that come with brainuad.
        samples: number of random draws per scan; None for the models' own number.
        precision: one of `device.PRECISIONS`; `auto` is resolved before.
        preparation: changes of the preparation, see `brainuad.preparation.recipes.changed`.
        sequence: sequence of the scans, where a model that comes with brainuad takes several.
        hash_of: hashes the weights of a model that was never loaded on this machine.

    Attributes:
        card: card of the first model.
        variant: one of `VARIANTS`; empty for a given number.
        thresholds: threshold of each model: one number, or two for `scan` and `mebin`.
        threshold: mean of the thresholds, which is applied.
        scales: divisors of each model's map before the maps are averaged: the models' own
            thresholds where they are of several kinds; None where they are of one, such as folds.
        recipe: the preparation, as plain values.
        untested: sequence of the scans where the models were never tested on it; else empty.

    Raises:
        InputError: models that do not fit together, no threshold, or no such preparation.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        cards: Sequence[Card],
        threshold: float | str | None = None,
        samples: int | None = None,
        precision: str = "32-true",
        preparation: Sequence[str] = (),
        sequence: str | None = None,
        hash_of: Callable[[Path], str] | None = None,
    ) -> None:
        self.paths = [Path(path) for path in paths]
        self.cards = list(cards)
        self.card = self.cards[0]
        if threshold is None and all(map(is_shipped, self.paths)):
            threshold = "fixed"
        for card, path in zip(self.cards, self.paths, strict=True):
            if differing := [key for key in SAME if _value(card, key) != _value(self.card, key)]:
                raise InputError(
                    f"{path}: has another {', '.join(differing)} than {self.paths[0]}; only "
                    "models that agree in these can be averaged"
                )
        self.variant = "healthy" if threshold is None else ""
        if isinstance(threshold, str):
            self.variant = threshold
        pairs = zip(self.paths, self.cards, strict=True)
        self.scales: list[float] | None = None
        if any(_kind(card) != _kind(self.card) for card in self.cards):
            self.scales = [_scale(path, card) for path, card in pairs]
            self.thresholds: list[Any] = [self._standardised(threshold)] * len(self.cards)
        else:
            self.thresholds = [_threshold(path, card, threshold) for path, card in pairs]
        if self.variant == "scan" and len({upper for _, upper in self.thresholds}) > 1:
            raise InputError(
                f"{self.paths[0]}: these models measure a scan by different quantiles; use "
                "--threshold healthy"
            )
        self.threshold = np.mean(self.thresholds, axis=0).tolist()
        self.hash_of = hash_of
        self.samples = samples
        self.precision = precision
        self.recipe = changed(self.card.recipe, preparation)
        self.untested = untested(self.paths[0], sequence)

    @property
    def sequence(self) -> str:
        """The sequence of the scans; several, the channels, as one name."""
        return self.untested or self.card.sequence

    @property
    def sequences(self) -> tuple[str, ...]:
        """The sequence of each channel."""
        return (self.untested,) if self.untested else self.card.channels

    @cached_property
    def steps(self) -> "Preparation | SlicePreparation":
        """The preparation's geometric steps.

        Raises:
            InputError: a part of the preparation that cannot be made.
        """
        from brainuad.preparation.recipes import check
        from brainuad.settings.allowed import RECIPE
        from brainuad.settings.build import build

        check(self.recipe)
        steps: Preparation | SlicePreparation = build(self.recipe.steps, RECIPE)
        return steps

    @property
    def doubts(self) -> tuple[str, ...]:
        """Reasons to doubt every prediction."""
        if not self.untested:
            return ()
        own = self.card.sequence
        return (f"of {self.untested}: the model for {own} was tried on no such scan of a person",)

    @property
    def pixel_mm(self) -> float | None:
        """Edge of a pixel of unknown size, for a model of slices; None for a model of volumes."""
        return self.recipe.pixel_mm if self.recipe.of_slices else None

    @property
    def trained_on(self) -> list[str]:
        """Training subjects of all models."""
        return sorted({name for card in self.cards for name in card.trained_on})

    def threshold_of(self, postprocess: "Postprocess") -> "Threshold":
        """Return the threshold function of the averaged models."""
        return self._as_function(postprocess, self.threshold)

    def member_thresholds(self, postprocess: "Postprocess") -> "list[Threshold]":
        """Return the threshold function of each model alone."""
        return [self._as_function(postprocess, value) for value in self.thresholds]

    def _standardised(self, wanted: float | str | None) -> float:
        """Return the threshold of a mean of maps, each divided by its model's threshold."""
        if isinstance(wanted, int | float):
            return float(wanted)
        if wanted not in (None, "healthy", "fixed"):
            raise InputError(
                f"{self.paths[0]}: models of several methods have no threshold '{wanted}'; use "
                "--threshold NUMBER (1 is the mean of their own thresholds)"
            )
        return 1.0

    def _as_function(self, postprocess: "Postprocess", value: Any) -> "Threshold":
        from brainuad.postprocess.mebin import MebinThreshold
        from brainuad.postprocess.threshold import Shared, scan_threshold

        if self.variant == "scan":
            return scan_threshold(postprocess.scan, *value)
        if self.variant == "mebin":
            return MebinThreshold(postprocess.mebin, *value)
        return Shared(value)

    @property
    def how_marked(self) -> str:
        """The threshold, in words."""
        if self.variant == "scan":
            return f"{self.threshold[0]:.4g} on each scan's own scale"
        if self.variant == "mebin":
            low, high = self.threshold
            return f"of each scan by mebin, between {low:.4g} and {high:.4g}"
        if self.scales is not None:
            return f"{self.threshold:.4g} times each model's own"
        return f"{self.threshold:.4g}"

    @cached_property
    def weights(self) -> list[str]:
        """Hash of each model's weights."""
        return [remembered_hash(path) or self._hash_now(path) for path in self.paths]

    def _hash_now(self, path: Path) -> str:
        assert self.hash_of is not None, "a model that is not loaded has no hash"
        found = self.hash_of(path)
        remember_hash(path, found)
        return found

    @cached_property
    def stamp(self) -> str:
        """All that decides a prediction beside the scan, as text."""
        how = [self.variant] if self.variant in ("scan", "mebin") else []
        if self.scales is not None:
            how += [f"scales {self.scales}"]
        applied = [*how, self.thresholds, self.samples, self.precision, self.recipe.to_json()]
        about = [*self.weights, *applied]
        shared = [self.card.tiling, self.card.postprocess, self.card.input]
        return json.dumps([*about, *shared], default=str)

    def __str__(self) -> str:
        """One line about the models."""
        more = f"; {len(self.cards)} models averaged" if len(self.cards) > 1 else ""
        return f"{_about(self.card)}{more}"


def _value(card: Card, key: str) -> Any:
    """Return a field of `SAME` with present names."""
    return without_added(retargeted(getattr(card, key)))


def _kind(card: Card) -> list[Any]:
    """Return what decides the scale of a model's scores."""
    kind = [_value(card, key) for key in KIND]
    model = {name: value for name, value in kind[0].items() if name not in NOT_SCORING}
    return [model, *kind[1:]]


def _scale(path: Path, card: Card) -> float:
    """Return a model's own threshold, by which its map is divided.

    Raises:
        InputError: it holds none above 0.
    """
    found = float(_threshold(path, card, "fixed" if is_shipped(path) else "healthy"))
    if found <= 0:
        raise InputError(
            f"{path}: its threshold is {found:g}; models of several methods are averaged after "
            "their maps are divided by it, so it must be above 0"
        )
    return found


def number_or_name(text: str) -> float | str:
    """Return a threshold as it is given on the command line.

    Raises:
        InputError: neither a finite number, 0 or more, nor one of `VARIANTS`.
    """
    if text in VARIANTS:
        return text
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise InputError(
            f"--threshold {text}: is neither a number, 0 or more, nor one of {', '.join(VARIANTS)}"
        )
    return value


def _threshold(path: Path, card: Card, wanted: float | str | None) -> Any:
    """Return a model's threshold of a variant, or the wanted number."""
    name = wanted if isinstance(wanted, str) else "healthy"
    if name not in VARIANTS:
        raise InputError(f"threshold is '{name}'; use a number or one of {', '.join(VARIANTS)}")
    value: Any = wanted
    if not isinstance(wanted, int | float):
        value = card.threshold if name == "healthy" else card.thresholds.get(name)
    if value is None:
        kind = "" if name == "healthy" else f" '{name}'"
        raise InputError(f"{path}: holds no threshold{kind}; give one with --threshold")
    if not np.isfinite(value).all():
        raise InputError(f"{path}: its threshold is {value}; give one with --threshold")
    return [float(one) for one in value] if isinstance(value, list) else float(value)


def _about(card: Card) -> str:
    people = len(card.trained_on)
    cohort = card.cohort or "an unknown cohort"
    subjects = f"{people} subjects of {cohort}" if people else f"trained on {cohort}"
    name = card.name or "a model"
    # Before this format the plain names stood for other presets.
    now = present_experiment(name) if tuple(_numbers(card)) < RENAMED_IN else None
    note = f" (what is experiment={now} today)" if now else ""
    return f"{name}{note} for {card.sequence}, {subjects}"


def _numbers(card: Card) -> list[int]:
    """Return the numbers of a card's format, such as `1.5`."""
    return [int(part) for part in str(card.format).split(".") if part.isdigit()]

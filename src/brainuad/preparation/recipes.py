"""Recipe of a model: from its cohort, from its card, with changes.

`build` makes the parts of a recipe (`brainuad.records.recipe`).
"""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from brainuad.errors import InputError
from brainuad.records.recipe import Recipe
from brainuad.settings.allowed import RECIPE
from brainuad.settings.build import build
from brainuad.settings.compose import compose_preparation
from brainuad.settings.instantiate import resolve
from brainuad.settings.moved import moved

if TYPE_CHECKING:
    from brainuad.cohorts.manifest import Cohort


def of_cohort(cohort: "Cohort", sequence: str) -> Recipe | None:
    """Return the preparation of the cohort's scans of a sequence; None where it is not recorded.

    The embedded cohort's brains lie in the atlas's space on a grid of its own, at the intensities
    of a percentile normalisation: what the default preparation makes of a head, at its spacing.
    """
    record = cohort.record
    if record.recipe is not None:
        normalise = record.recipe.normalise.get(sequence)
        return replace(record.recipe, normalise=normalise) if normalise else None
    if moved(record.generator) == "brainuad.synthetic.phantom":
        return default(record.spacing_mm)
    return None


def default(spacing_mm: float | None = None) -> Recipe:
    """Return the recipe of `configs/prepare.yaml`: whole heads to the atlas."""
    own = [f"preparation.steps.spacing_mm={_number(spacing_mm)}"] if spacing_mm else []
    return Recipe.from_json(resolve(compose_preparation(own).preparation))


def check(recipe: Recipe) -> None:
    """Make each part of a recipe, so that a useless one is refused before a scan is read.

    Raises:
        InputError: values that a part refuses, or another thing in its place.
    """
    from brainuad.preparation.normalise.intensity import Normalise
    from brainuad.preparation.pipeline import Preparation
    from brainuad.preparation.quality.measures import Limits
    from brainuad.preparation.slices import SlicePreparation

    build(recipe.steps, RECIPE, Preparation | SlicePreparation)
    build(recipe.limits, RECIPE, Limits)
    for normalise in recipe.normalisers.values():
        build(normalise, RECIPE, Normalise)


def changed(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """Return the recipe with changes in the words of `brainuad-prepare`.

    Args:
        recipe: recipe of a model.
        overrides: `preparation=NAME` takes the steps of another preparation, at the recipe's
            spacing and with its normalisation; `preparation/normalise=NAME`,
            `preparation/skullstrip=NAME` and `preparation.KEY=VALUE` change that part alone.

    Raises:
        InputError: no `key=value` of the preparation, or one that Hydra does not understand.
    """
    for word in overrides:
        if "=" not in word or not word.startswith("preparation"):
            raise InputError(
                f"'{word}' is no change of the preparation; write preparation=NAME or "
                "preparation.steps.KEY=VALUE"
            )
    if not overrides:
        return recipe
    if recipe.of_slices:
        raise InputError(
            f"'{overrides[0]}': the model was trained on slices, whose preparation has no such "
            "choices; leave it out"
        )
    spacing = f"preparation.steps.spacing_mm={_number(recipe.spacing_mm)}"
    new = resolve(compose_preparation([spacing, *overrides]).preparation)
    found = copy.deepcopy(recipe.to_json())
    for word in sorted(overrides, key=lambda word: not word.startswith("preparation=")):
        path = word.split("=")[0].replace("/", ".").split(".")[1:]
        if not path:
            found |= {name: new[name] for name in ("steps", "limits")}
            continue
        path = ["steps", "skullstrip"] if path == ["skullstrip"] else path
        target, source = found, new
        for key in path[:-1]:
            # What the recipe left out as a whole comes with all its parts.
            if not isinstance(target.get(key), dict):
                target[key] = source[key]
            target, source = target[key], source[key]
        target[path[-1]] = source[path[-1]]
    return Recipe.from_json(found)


def _number(value: Any) -> float:
    """A recipe's number before it becomes a part of an override, which Hydra interprets."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"spacing_mm is {value!r:.60} in the recipe; it has to be a number of mm")
    return value

"""The card of a checkpoint: plain values that say what was trained, on whom and how."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from brainuad.cohorts.manifest import Cohort, joined
from brainuad.errors import InputError
from brainuad.preparation.recipes import Recipe, of_cohort
from brainuad.settings.moved import retargeted

FORMAT = "1.4"
"""Of the card: a new minor version adds keys, a new major one breaks with the old."""

ADDED = {
    **{"format": "1.0", "input": {"tissue": None}, "preparation": None, "statistics": None},
    **{"flips": False, "relative": None},
}
"""Keys that cards of older minor versions lack, and what stands for them."""

CARD_KEYS = ("version", "model", "tiling", "postprocess", "sequence", "subjects")

RESULT_KEYS = ("seed", "data", "input", "model", "tiling", "datamodule")
"""What must agree between a checkpoint and the run that resumes from it, under whatever name."""

NEUTRAL_KEYS = ("cache_dir", "jobs", "num_workers")
"""What may differ within: none of it changes a result."""


ADDED_SETTINGS = {
    **{"normalise": None, "heights": None, "slices_per_volume": None, "replace": False},
    "matmul_precision": "highest",
    **{"donors_by_height": False, "whole_image": False},  # FPI
}
"""Settings that older runs lack, and what stands for them."""


DETECTION_KEYS = (
    *("residual", "gradient", "times_residual", "n_samples", "sample_seed"),
    *("scores_by", "reference", "sampling_steps", "eta", "mask_threshold"),
)
"""Of `model`: what scores and does not train; a trained model can be scored in another way."""


def same_training(one: Any, other: Any) -> bool:
    """Whether two settings of a key of `RESULT_KEYS` train the same, however they score."""
    one, other = (without_added(retargeted(value)) for value in (one, other))
    return bool(_without(one, DETECTION_KEYS) == _without(other, DETECTION_KEYS))


def checked(path: Path, card: Any) -> dict[str, Any]:
    """Return the card of a model file, with what older minor versions lack.

    Args:
        path: of the file, for messages.
        card: as it was read.

    Raises:
        InputError: no card, or one of another major version.
    """
    missing = [key for key in CARD_KEYS if not isinstance(card, dict) or key not in card]
    if not isinstance(card, dict) or missing:
        raise InputError(f"{path}: its card lacks {missing}; train it again with brainuad")
    card = {**ADDED, **card}
    major = FORMAT.partition(".")[0]
    if str(card["format"]).partition(".")[0] != major:
        raise InputError(
            f"{path}: is of format {card['format']}, this brainuad reads {major}.x; use the "
            "version of brainuad that made it"
        )
    return card


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
        split: sorted({s.subject for s in cohort.scans if s.split == split and s.healthy})
        for split in ("train", "val")
    }
    run = _without({key: config[key] for key in RESULT_KEYS}, NEUTRAL_KEYS)
    return {
        "model": config["model"],
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

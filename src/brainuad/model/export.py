"""A trained model packed for others: the card without places, and the text for people."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from brainuad.errors import InputError
from brainuad.machine.provenance import describe
from brainuad.machine.read import read_json
from brainuad.machine.text import markdown, without_home
from brainuad.model.bundle import write_bundle
from brainuad.model.card import Card
from brainuad.model.card_schema import FORMAT
from brainuad.model.model import Model
from brainuad.records.recipe import Recipe
from brainuad.records.summary import Result, Summary
from brainuad.settings.build import TARGET

PLACES = ("source", "path", "cache_dir", "output_dir")
"""Keys of a card whose values are paths of the machine that trained."""


UNSTATED = "not stated"
"""Licence of weights without one."""


def export_model(
    run: Path, out: Path, licence: str | None, half: bool = False, **changes: Any
) -> Card:
    """Write the bundle of a trained model.

    Args:
        run: run folder, its `model.ckpt`, or another bundle.
        out: a `.zip`, or a folder to make.
        licence: licence of the weights; None for that of the card, or none.
        half: write floating-point weights as float16, half the size, exact to 1 in 2,048.
        changes: new values of the card, by key.

    Returns:
        The card in the bundle.

    Raises:
        InputError: no model, a model without a threshold, or `out` holds something else.
    """
    model = Model.load(run)
    if half:
        rounded = {
            name: value.half().to(value.dtype) if value.is_floating_point() else value
            for name, value in model.state_dict().items()
        }
        model.load_state_dict(rounded)
    card = shared_card(model, run, licence, **changes)
    weights = model.state_dict()
    if half:
        weights = {n: v.half() if v.is_floating_point() else v for n, v in weights.items()}
    write_bundle(out, weights, card.to_json(), model_card(card))
    return card


def shared_card(model: Model, run: Path, licence: str | None, **changes: Any) -> Card:
    """Return the card of a model as others may see it.

    Args:
        model: the model.
        run: file or folder that it was loaded from.
        licence: licence of the weights; None for that of the card, or none.
        changes: new values of the card, by key.

    Raises:
        InputError: the model has no threshold.
    """
    if model.card.threshold is None:
        raise InputError(
            f"{run}: holds no threshold; train it with predict=true before you share it"
        )
    own = {
        "format": FORMAT,
        "licence": licence or model.card.licence or UNSTATED,
        "weights_sha256": model.weights_hash,
        "scores": _scores(run if run.is_dir() else run.parent) or model.card.scores,
        "exported_with": describe()["versions"],
        **changes,
    }
    # Paths of this machine are private.
    values = _without_places(replace(model.card, **own).to_json())
    # Through JSON, so that a value that cannot be written fails before a file is written.
    return Card.from_json(run, json.loads(json.dumps(values, default=str)))


def model_card(card: Card) -> str:
    """Return the text of a model card: use, training cohort, scores and limits."""
    subjects = card.subjects or {}
    counts = {split: len(subjects.get(split, [])) for split in ("train", "val")}
    people = ""
    if any(counts.values()):
        people = f"{counts['train']} trained on, {counts['val']} for validation"
    statistics = card.training_statistics
    measures = statistics.measures if statistics else {}
    recipe = card.recipe if card.preparation else None
    rows = [
        ("method", markdown(card.name)),
        ("sequence", markdown(card.sequence)),
        ("cohort", markdown(card.cohort)),
        ("trained on", markdown(card.about)),
        ("healthy subjects", people),
        ("split", f"`{markdown(card.split_hash)}`"),
        ("seed", markdown(card.seed) if card.seed else ""),
        ("preparation", markdown(_preparation(recipe))),
        ("threshold", f"{card.threshold:.6g} of the post-processed map"),
        ("brain volume", _range(measures, "brain_ml", "ml")),
        ("voxel edge of the training scans", _range(measures, "voxel_mm", "mm")),
        ("licence of the weights", markdown(card.licence)),
        ("weights", f"SHA-256 `{card.weights_sha256}`"),
        ("made with", f"brainuad {markdown(card.version)}, card format {card.format}"),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows if value)
    sequence = markdown(card.sequence)
    return f"""# {markdown(card.name or "model")} for {sequence}

Finds anomalies in {sequence} brain scans with brainuad:
`brainuad-predict MODEL SCANS OUT`.

| | |
| --- | --- |
{table}

## Scores

{_score_table(card.scores)}

## Limits

- Research software, **not a medical device**; no diagnosis may rest on its output.
- It was trained on healthy brains of its cohort alone. Scans of another sequence, scanner,
  resolution, age or species may be marked all over, or their lesions missed. brainuad-predict
  compares each scan with the training scans and flags those that differ. A scan without flags may
  still be unsuitable.
- By the choice of its threshold about 1 % of a healthy brain is marked.
- The scores were measured on the cohort named above, not on yours.
"""


def _without_places(value: Any) -> Any:
    """Return the values of a card without folders: null under `PLACES`, else file names alone."""
    if isinstance(value, dict):
        return {k: None if k in PLACES else _without_places(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_places(v) for v in value]
    if isinstance(value, Path) or (isinstance(value, str) and _ABSOLUTE.match(value)):
        return re.split(r"[/\\]", str(value).rstrip("/\\"))[-1]
    return without_home(value) if isinstance(value, str) else value


_ABSOLUTE = re.compile(r"(~|/|[A-Za-z]:[/\\]|\\\\|file:)")


def _scores(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of the run's summary that its table shows; none without an evaluation."""
    from brainuad.reporting.tables import SHOWN

    path = folder / "summary.json"
    if not path.is_file():
        return []
    found = read_json(path, "evaluate the run again")
    shown = {column.key for column in SHOWN}
    results = Summary.from_json(found, str(path)).results
    return [asdict(result) for result in results if result.key in shown]


def _score_table(rows: Sequence[dict[str, Any]]) -> str:
    from brainuad.reporting.tables import summary_rows

    if not rows:
        return "The run was not evaluated."
    header, body = summary_rows([Result.from_json(row, "scores of the model") for row in rows])
    lines = [header, ["---"] * len(header), *body]
    said = "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)
    defined = "Means over test subjects. docs/explanation/protocol.md of brainuad defines them."
    return f"{defined}\n\n{said}"


def _cell(text: str) -> str:
    # The brackets of an interval are no link.
    return markdown(text).replace("&#91;", "[").replace("&#93;", "]")


def _preparation(recipe: Recipe | None) -> str:
    if recipe is None:
        return "not recorded"
    # Each channel may have its own normalisation, of one method.
    first = next(iter(recipe.normalisers.values()))
    how = first[TARGET].rpartition(".")[2]
    where = "registered to the atlas" if recipe.registered else "not registered"
    return f"{where}, {recipe.spacing_mm:g} mm voxels, {how} intensities"


def _range(measures: Mapping[str, Sequence[float]], name: str, unit: str) -> str:
    values = measures.get(name, [])
    return f"{min(values):.4g} to {max(values):.4g} {unit}" if values else ""

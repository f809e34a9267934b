"""Parts of a run that may leave the machine: numbers and settings, no names and no places.

A tracker such as Weights & Biases gets what passes here and nothing else. Subjects become numbers,
anything that says where a file lies is left out, and a cohort has no name.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

CONFIG = (
    *("name", "seed", "max_epochs", "space", "data", "input", "model", "first_stage", "tiling"),
    *("datamodule", "postprocess", "trainer", "callbacks", "predict_precision", "painted_draws"),
)
"""Keys of a run's configuration."""

CARD = (
    *("version", "model", "input", "tiling", "postprocess", "sequence", "space", "seed", "name"),
    *("threshold", "thresholds", "quality", "checks", "first_stage"),
)
"""Keys of a checkpoint's card."""

RECORD = (
    *("commit", "dirty", "versions", "python", "device", "threads", "parameters", "fit_s"),
    *("duration_s", "wall_time_per_volume_s", "painted"),
)
"""Keys of a run's provenance."""

SCORES = (
    *("subject", "sequence", "method", "pathology", "contrast", "space", "threshold"),
    *("threshold_value", "metric", "value"),
)
"""Columns of `scores.csv`."""

_PLACES = re.compile(
    r"(^|_)(cohort|source|folder|path|paths|dir|dirpath|root|file|image|mask|host|user|site)$"
    r"|_(dir|path|image|file)$|^(ckpt|checkpoint|subjects)$"
)
"""Keys of places and of people."""


def public(values: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """Return the plain values under `keys` without places, found by their key or by a slash.

    Args:
        values: plain dicts, lists and scalars.
        keys: at the top level; those that are not there are left out.
    """
    return {key: _plain(values[key]) for key in keys if key in values and not _is_place(key)}


def numbers(subjects: Iterable[str]) -> dict[str, str]:
    """Return an anonymous name per subject: `test 1`, `test 2`, … in the order given."""
    return {subject: f"test {i + 1}" for i, subject in enumerate(dict.fromkeys(subjects))}


def public_scores(scores: "pd.DataFrame", names: Mapping[str, str]) -> "pd.DataFrame":
    """Return `scores.csv` with its subjects renamed and only the columns of `SCORES`.

    Args:
        scores: scores, one value per row.
        names: result of `numbers`; a subject without one, such as `(pooled)`, stands in brackets.
    """
    kept = scores[[column for column in SCORES if column in scores]].copy()
    known = kept.subject.isin(list(names)) | kept.subject.str.fullmatch(r"\(\w+\)")
    kept = kept[known]
    return kept.assign(subject=[names.get(subject, subject) for subject in kept.subject])


def public_card(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint's card that still loads but names nobody.

    `predict.py` therefore cannot tell which subjects such a copy was trained on.
    """
    return public(card, CARD) | {"subjects": {"train": [], "val": []}}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items() if not _is_place(str(k))}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    return None if "/" in text or "\\" in text else text


def _is_place(key: str) -> bool:
    return _PLACES.search(key) is not None

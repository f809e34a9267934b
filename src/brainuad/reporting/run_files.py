"""The files of a run folder: read whole, or refused in one line."""

import math
from pathlib import Path
from typing import IO, Any, NamedTuple
from zipfile import ZipFile

import numpy as np
from numpy.lib import format as npy

from brainuad.errors import InputError
from brainuad.machine.limits import available_bytes, require_honest
from brainuad.machine.read import read_json, read_table

MOST_ARRAYS = 2**30
"""Bytes of an .npz file of a run, unpacked."""

SCORE_COLUMNS = ("subject", "method", "threshold", "metric", "value")

RESULT_WORDS = ("method", "group", "threshold", "metric")
RESULT_NUMBERS = ("n", "mean", "std", "ci_low", "ci_high", "undefined")
"""Keys of a row of `results` in `summary.json`; a number may be missing."""


class Score(NamedTuple):
    """A row of `scores.csv`.

    `threshold` is `none` where the metric needs none, `person` the subject where the file has no
    such column.
    """

    subject: str
    method: str
    pathology: str
    contrast: str
    threshold: str
    metric: str
    value: float
    person: str = ""


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read an `.npz` file; empty where there is none.

    Raises:
        InputError: damaged, or it claims more than it holds or than is allowed.
    """
    if not path.is_file():
        return {}
    try:
        with ZipFile(path) as archive:
            require_honest(path, archive.infolist(), min(MOST_ARRAYS, available_bytes() / 2))
            for member in archive.infolist():
                with archive.open(member) as content:
                    _require_whole(content, member.file_size)
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except InputError:
        raise
    # NumPy, zipfile and zlib each have errors of their own for a damaged file.
    except Exception as error:
        raise InputError(f"{path}: not readable ({error}); evaluate the run again") from None


def _require_whole(content: IO[bytes], size: int) -> None:
    """Refuse an array whose header claims more than its member of the archive holds."""
    kinds = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    shape, _, dtype = kinds[npy.read_magic(content)](content)
    if content.tell() + math.prod(shape) * dtype.itemsize > size:
        raise ValueError(f"{shape} values of {dtype} in {size} bytes")


def read_summary(path: Path) -> dict[str, Any]:
    """Read `summary.json`; empty where there is none.

    Raises:
        InputError: damaged, or its values are not of the kind that we write.
    """
    summary = read_record(path)
    rows, thresholds = summary.get("results") or [], summary.get("thresholds") or {}
    whole = isinstance(rows, list) and isinstance(thresholds, dict)
    whole = whole and all(isinstance(row, dict) for row in rows)
    whole = whole and all(isinstance(row.get(key), str) for row in rows for key in RESULT_WORDS)
    numbers = [row.get(key) for row in rows for key in RESULT_NUMBERS] if whole else []
    numbers += thresholds.values() if whole else []
    if not whole or not all(value is None or type(value) in (int, float) for value in numbers):
        raise InputError(f"{path}: not a summary of brainuad; evaluate the run again")
    return summary


def read_record(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty where there is none.

    Raises:
        InputError: damaged.
    """
    if not path.is_file():
        return {}
    found: dict[str, Any] = read_json(path, "evaluate the run again")
    return found


def read_scores(path: Path) -> tuple[Score, ...]:
    """Read `scores.csv`; empty where there is none.

    Raises:
        InputError: damaged, or a column is missing.
    """
    if not path.is_file():
        return ()
    header, rows = read_table(path, "evaluate the run again")
    missing = [name for name in SCORE_COLUMNS if name not in header]
    if missing:
        raise InputError(f"{path}: no column {', '.join(missing)}; evaluate the run again")
    return tuple(
        Score(
            subject=row["subject"],
            method=row["method"],
            pathology=row.get("pathology") or "",
            contrast=row.get("contrast") or "",
            threshold=row["threshold"],
            metric=row["metric"],
            value=number(row["value"]),
            person=row.get("person") or row["subject"],
        )
        for row in rows
    )


def read_history(path: Path) -> dict[str, dict[str, tuple[list[float], list[float]]]]:
    """Quantities of Lightning's sparse CSV, an epoch a point, the loss first."""
    if not path.is_file():
        return {}
    _, rows = read_table(path, "train the run again")
    names = [name for name in (rows[0] if rows else {}) if name and name not in ("epoch", "step")]
    history: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    for name in sorted(names, key=lambda name: not name.startswith("train")):
        if name.endswith("_step") and name.removesuffix("_step") + "_epoch" in names:
            continue
        # The last value of an epoch: several rows share one.
        points = {number(row.get("epoch")): number(row[name]) for row in rows if row[name]}
        points = {e: v for e, v in points.items() if math.isfinite(e) and math.isfinite(v)}
        if points:
            stage, _, quantity = name.rpartition("/")
            quantity = quantity.removesuffix("_epoch")
            history.setdefault(quantity, {})[stage] = (list(points), list(points.values()))
    return dict(sorted(history.items(), key=lambda item: "loss" not in item[0]))


def number(text: str | None) -> float:
    """Return the number that a cell holds; NaN where it holds none."""
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")

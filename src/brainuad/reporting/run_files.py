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
from brainuad.records.summary import Summary

MOST_ARRAYS = 2**30
"""Largest size of an unpacked .npz file of a run, in bytes."""

SCORE_COLUMNS = ("subject", "method", "threshold", "metric", "value")


class Score(NamedTuple):
    """A row of `scores.csv`.

    `threshold` is `none` where the metric needs none, `person` the subject where the file has no
    such column.
    """

    subject: str
    method: str
    threshold: str
    metric: str
    value: float
    pathology: str = ""
    person: str = ""


class Lesion(NamedTuple):
    """A row of `lesions.csv`.

    Attributes:
        volume_ml: volume of the lesion.
        contrast: mean intensity against the rest of the brain, in standard deviations.
        covered: share of the lesion that the mask covers.
        found: whether the mask touches it.
    """

    volume_ml: float
    contrast: float
    covered: float
    found: bool


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


def read_summary(path: Path) -> Summary:
    """Read `summary.json`; an empty summary where there is none.

    Raises:
        InputError: damaged, or its values are not of the kind that we write.
    """
    return Summary.from_json(read_record(path), str(path))


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
    scores = []
    for row in rows:
        score = Score(**{name: row.get(name) or "" for name in Score._fields})  # type: ignore[arg-type]
        scores.append(
            score._replace(value=number(row.get("value")), person=score.person or score.subject)
        )
    return tuple(scores)


def read_lesions(path: Path, method: str) -> list[Lesion]:
    """Read the lesions of a method from `lesions.csv`; empty where there is no file.

    Raises:
        InputError: damaged.
    """
    if not path.is_file():
        return []
    _, rows = read_table(path, "evaluate the run again")
    return [
        Lesion(
            number(row.get("volume_ml")),
            number(row.get("contrast")),
            number(row.get("covered")),
            row.get("found") == "True",
        )
        for row in rows
        if row.get("method") == method
    ]


def read_history(path: Path) -> dict[str, dict[str, tuple[list[float], list[float]]]]:
    """Read the quantities of Lightning's sparse CSV, one point per epoch, the loss first."""
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

"""The columns of a table of scans: which is which, whatever its owner calls it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from brainuad.cohorts.filename import is_image
from brainuad.cohorts.people import column_words, health_by, names_person, tells_health, truth
from brainuad.cohorts.scans import RawScan
from brainuad.cohorts.words import loosened, role_of, word_sets
from brainuad.errors import InputError

COLUMNS = tuple(RawScan.__dataclass_fields__)

_WORDS = word_sets("columns")
"""Words of the names that a column may have; all of its words are among them."""


@dataclass
class Columns:
    """Meaning of the columns of a table.

    Attributes:
        taken: field of `RawScan` to the column that holds it.
        health: columns with people's health, each with the meaning of its values.
        unknown: all others.
    """

    taken: dict[str, str] = field(default_factory=dict)
    health: dict[str, dict[str, bool | None]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)


def columns_of(
    source: Path,
    header: Sequence[str],
    rows: Sequence[Mapping[str, str]],
    fields: Sequence[str] = COLUMNS,
    holds: Callable[[str], bool] = is_image,
) -> Columns:
    """Classify the columns of a table by their names and their content.

    Args:
        source: name of the source in messages.
        header: the names.
        rows: a cell by its column.
        fields: fields that columns may name.
        holds: whether a text is the name of an image.

    Raises:
        InputError: none holds the images, two hold the same, or an unknown one holds images.
    """
    found = Columns()
    plain = {name.strip().casefold().replace(" ", "_"): name for name in header if name.strip()}
    for known in fields:
        if known in plain:
            found.taken[known] = plain[known]
    small = [name.strip().casefold() for name in header if name.strip()]
    if twice := next((name for name in small if small.count(name) > 1), ""):
        raise InputError(f"{source}: two columns are called '{twice}'; keep one")
    for name in header:
        if not name.strip() or name in found.taken.values():
            continue
        values = [row.get(name, "").strip() for row in rows]
        known = _meaning(name, values, holds)
        if known == "health":
            found.health[name] = health_by(name, values)
        elif known and known not in found.taken:
            found.taken[known] = name
        else:
            found.unknown.append(name)
    if "image" not in found.taken:
        raise InputError(
            f"{source}: unknown columns {found.unknown}; a column 'image' is needed, known are "
            f"{', '.join(fields)}"
        )
    for name in found.unknown:
        if any(holds(row.get(name, "").strip()) for row in rows):
            raise InputError(
                f"{source}: column '{name}' holds images, and its name does not tell of what; call "
                "it lesion_mask or brain_mask, or take it out"
            )
    return found


def _meaning(name: str, values: Sequence[str], holds: Callable[[str], bool]) -> str:
    """The field of `RawScan` that a column holds, `health`, or empty."""
    words = column_words(name)
    held = [value for value in values if value]
    paths = any(holds(value) for value in held)
    if paths:
        role = role_of(loosened(word for word in words if word not in ("path", "file", "label")))
        if role in ("lesion", "brain mask", "mask") or words == ["target"] or "label" in words:
            return "brain_mask" if role == "brain mask" else "lesion_mask"
        if role == "brain":
            return "brain_mask"
    for known, own in _WORDS.items():
        if words and own.issuperset(words) and (paths or known != "image" or not held):
            return known
    yes_or_no = bool(held) and all(truth(value) is not None for value in held)
    if names_person(name) and not (yes_or_no and "id" not in words):
        return "subject"
    return "health" if tells_health(name, held) else ""

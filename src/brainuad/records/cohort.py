"""Record of a cohort: `cohort.json` of a cohort folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from brainuad.records.fields import from_plain, known_values
from brainuad.records.recipe import Recipe


@dataclass(frozen=True)
class CohortRecord:
    """The part of `cohort.json` that commands read. Generators of cohorts write more keys.

    Attributes:
        name: name of the cohort.
        generator: module of synthetic scans.
        spacing_mm: edge length of synthetic voxels.
        recipe: preparation of the scans; `normalise` holds one normalisation per sequence.
        flags: scan to its flags, in words.
        failures: subject and reason of each scan that could not be prepared.
        spaces: notes on the spaces that scans share.
    """

    name: str = ""
    generator: str = ""
    spacing_mm: float | None = None
    recipe: Recipe | None = None
    flags: Mapping[str, Sequence[str]] = field(default_factory=dict)
    failures: tuple[tuple[str, str], ...] = ()
    spaces: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, values: Any, where: str) -> "CohortRecord":
        """Return the record of plain values.

        Args:
            values: content of the file; a stranger may have written it.
            where: path of the file, for the message.

        Raises:
            InputError: no object, or a value of another type.
        """
        own = known_values(cls, values, where)
        if isinstance(recipe := own.get("recipe"), Mapping):
            own["recipe"] = Recipe.from_json(recipe)
        return from_plain(cls, own, where)

"""Statistics of a model's training cohort, with which new scans are compared."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from brainuad.records.fields import from_plain, known_values


@dataclass(frozen=True)
class TrainingStatistics:
    """Statistics of the healthy training and validation scans.

    Attributes:
        percentiles: percentiles of the prepared brains' intensities.
        quantiles: their intensities, as mean over subjects; empty without subjects.
        measures: name of a measure to one value per subject.
        spacing_mm: voxel size of the prepared scans.
        scores: anomaly scores of the healthy validation subjects, rising.
    """

    percentiles: Sequence[float] = ()
    quantiles: Sequence[float] = ()
    measures: Mapping[str, Sequence[float]] = field(default_factory=dict)
    spacing_mm: float | None = None
    scores: Sequence[float] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Any, where: str) -> "TrainingStatistics":
        """Return the statistics of plain values.

        Args:
            values: from a card; a stranger may have written them.
            where: file of the card, for the message.

        Raises:
            InputError: no object, or a value of another type.
        """
        return from_plain(cls, known_values(cls, values, where), where)

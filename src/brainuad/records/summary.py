"""Record of an evaluation: `summary.json` of a run folder."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from brainuad.errors import InputError
from brainuad.records.fields import from_plain, known_values


@dataclass(frozen=True)
class Result:
    """Mean of a metric over a group of subjects.

    Attributes:
        method: name of the method.
        group: `all` lesions, a pathology, a contrast, `healthy` or `pooled`.
        threshold: variant of the threshold; `none` where the metric needs none.
        metric: name of the metric.
        n: number of subjects with a value.
        mean: NaN or None where no subject has a value.
        std: sample standard deviation.
        ci_low: lower end of the 95 % interval of the mean.
        ci_high: upper end.
        undefined: number of subjects without a value.
    """

    method: str
    group: str
    threshold: str
    metric: str
    n: int = 0
    mean: float | None = None
    std: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    undefined: int = 0

    @property
    def key(self) -> tuple[str, str, str]:
        """Group, threshold and metric."""
        return self.group, self.threshold, self.metric

    @property
    def has_mean(self) -> bool:
        """Return whether some subject has a value."""
        return self.mean is not None and not math.isnan(self.mean)

    @classmethod
    def from_json(cls, values: Any, where: str) -> "Result":
        """Return the result of plain values.

        Args:
            values: as they were read; a stranger may have written them.
            where: file, for the message.

        Raises:
            InputError: a name is missing, or a value of another type.
        """
        return from_plain(cls, known_values(cls, values, where), where)


@dataclass(frozen=True)
class Summary:
    """Means of an evaluation, and what it was of.

    Attributes:
        results: mean of each method, group, threshold and metric.
        thresholds: healthy threshold of each method.
        cohort: name of the cohort.
        sequence: sequence of the scans, or one per channel.
        space: grid of the scores, such as `native`.
        split_hash: hash of the cohort's splits.
        alpha: rate of false positives that the healthy threshold aims at.
        failures: subject and reason of what could not be scored.
        provenance: record of the run, as plain values.
    """

    results: tuple[Result, ...] = ()
    thresholds: Mapping[str, float | None] = field(default_factory=dict)
    cohort: str = ""
    sequence: str | Sequence[str] = ""
    space: str = ""
    split_hash: str = ""
    alpha: float | None = None
    failures: tuple[Sequence[str], ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, values: Any, where: str) -> "Summary":
        """Return the summary in a file.

        Args:
            values: as they were read; a stranger may have written them.
            where: file, for the message.

        Raises:
            InputError: not a summary.
        """
        try:
            known = known_values(cls, values, where)
            rows = known.get("results") or ()
            known["results"] = tuple(Result.from_json(row, where) for row in rows)
            return from_plain(cls, known, where)
        except InputError:
            raise InputError(
                f"{where}: not a summary of brainuad; evaluate the run again"
            ) from None

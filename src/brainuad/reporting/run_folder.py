"""A run folder in memory: what a report reads, with every file but one optional."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from brainuad.cohorts.channels import with_channels
from brainuad.cohorts.manifest import Cohort, joined, read_cohort
from brainuad.cohorts.names import POOLED
from brainuad.errors import InputError
from brainuad.records.run import RunRecord
from brainuad.records.summary import Result, Summary
from brainuad.reporting.drawing.curves import Curve
from brainuad.reporting.run_files import (
    Lesion,
    Score,
    read_arrays,
    read_history,
    read_lesions,
    read_record,
    read_scores,
    read_summary,
)

CONTROL = "intensity"
"""Name of the control without learning, which is shown beside every method."""


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    Attributes:
        path: the folder.
        config: text of `config.yaml`, or "".
        record: record of the run.
        summary: means of the evaluation; empty where it was not evaluated.
        scores: rows of `scores.csv`.
        history: quantity to stage to (epochs, values), from `metrics.csv`.
        cohort: the scored cohort; None where it cannot be read.
        absent: missing files and what the report therefore leaves out, in words.
    """

    path: Path
    config: str
    record: RunRecord
    summary: Summary
    scores: tuple[Score, ...]
    history: dict[str, dict[str, tuple[list[float], list[float]]]]
    cohort: Cohort | None
    absent: tuple[str, ...]

    @property
    def method(self) -> str:
        """The run's own method: named by what ran, else the first that was scored."""
        own = self.record.method
        return own if own in self.methods or not self.methods else self.methods[0]

    @property
    def methods(self) -> list[str]:
        """All scored methods, controls too, in the file's order."""
        return list(dict.fromkeys(score.method for score in self.scores))

    @property
    def shown_methods(self) -> list[str]:
        """The run's own method and the control beside it."""
        return list(dict.fromkeys((self.method, CONTROL)))

    @property
    def sequence(self) -> str:
        """The MRI sequence, or ""; several, of the channels, as one name."""
        return joined(self.record.sequence or self.summary.sequence)

    @property
    def cohort_name(self) -> str:
        """Name of the cohort, or ""."""
        return self.record.cohort.name or self.summary.cohort

    @property
    def failures(self) -> list[tuple[str, str]]:
        """(subject, reason) of what could not be done."""
        rows = [*self.record.failures, *self.summary.failures]
        return list(dict.fromkeys((str(row[0]), str(row[1])) for row in rows))

    def value(self, subject: str, method: str, metric: str, threshold: str) -> float | None:
        """Return one score; None where it is absent or undefined."""
        found = self._index.get((subject, method, metric, threshold))
        return found if found is not None and math.isfinite(found) else None

    def values(
        self, subjects: Sequence[str], method: str, metric: str, threshold: str
    ) -> list[float]:
        """Return one score of each subject; NaN where it is absent or undefined."""
        found = [self.value(subject, method, metric, threshold) for subject in subjects]
        return [math.nan if value is None else value for value in found]

    def with_lesion(self, method: str) -> set[str]:
        """Return the subjects with a lesion: those whose AP is defined."""
        return {s for s in self.people if self.value(s, method, "auprc", "none") is not None}

    def volume_and_dice(self, method: str, subjects: Iterable[str]) -> list[tuple[float, float]]:
        """Return lesion volume in ml and Dice at the healthy threshold where both are known."""
        pairs = []
        for subject in subjects:
            volume = self.value(subject, method, "lesion_ml", "none")
            dice = self.value(subject, method, "dice", "healthy")
            if volume and dice is not None:
                pairs.append((volume, dice))
        return pairs

    def calibration(self, method: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Return alphas `(A,)` and the share of each healthy test subject above `(H, A)`."""
        if f"{method}/calibration_fpr" not in self.arrays:
            return None
        alphas = self.arrays[f"{method}/calibration_alpha"]
        return alphas, self.arrays[f"{method}/calibration_fpr"]

    @cached_property
    def people(self) -> dict[str, str]:
        """Subject to person."""
        return {score.subject: score.person or score.subject for score in self.scores}

    @cached_property
    def _index(self) -> dict[tuple[str, str, str, str], float]:
        return {(s.subject, s.method, s.metric, s.threshold): s.value for s in self.scores}

    def result(
        self, method: str, metric: str, threshold: str, groups: tuple[str, ...] = ("all",)
    ) -> Result | None:
        """Return the mean over the first of `groups` that has one."""
        for group in groups:
            for row in self.summary.results:
                if (row.method, *row.key) == (method, group, threshold, metric) and row.has_mean:
                    return row
        return None

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """Contents of `curves.npz`; empty where there is none.

        Raises:
            InputError: the file is damaged.
        """
        return read_arrays(self.path / "curves.npz")

    @cached_property
    def checks(self) -> dict[str, float]:
        """Numbers from the calibration of the method and of its first stage, by name.

        Raises:
            InputError: a file is damaged.
        """
        if found := read_record(self.path / "checks.json"):
            return found
        # Runs before version 0.2 have a file per method.
        quality, latent, repainting = (
            read_record(self.path / f"{name}.json")
            for name in ("autoencoder", "latent", "autopaint")
        )
        errors = latent.pop("error", {})
        return {
            **{f"first_stage/{name}": value for name, value in quality.items()},
            **{f"error/{name}": value for name, value in errors.items()},
            **latent,
            **repainting,
        }

    @cached_property
    def check_arrays(self) -> dict[str, np.ndarray]:
        """Arrays from the calibration of the method, by name.

        Raises:
            InputError: a file is damaged.
        """
        return read_arrays(self.path / "checks.npz") or read_arrays(self.path / "latent.npz")

    def lesions(self, method: str) -> list[Lesion]:
        """Return the lesions of a method, from `lesions.csv`."""
        return read_lesions(self.path / "lesions.csv", method)

    def curves(self) -> list[Curve]:
        """Return the methods' precision-recall curves, the run's own first."""
        arrays = self.arrays
        names = [key.removesuffix("/recall") for key in arrays if key.endswith("/recall")]
        names.sort(key=lambda name: (name != self.method, name))
        curves = []
        for name in names:
            recall, precision = arrays[f"{name}/recall"], arrays[f"{name}/precision"]
            thresholds = arrays.get(f"{name}/pr_threshold", np.zeros(0))
            fitted = self.summary.thresholds.get(name)
            operating = None
            if fitted is not None and thresholds.size:
                nearest = int(np.abs(thresholds - fitted).argmin())
                operating = float(recall[nearest]), float(precision[nearest])
            pooled = self.value(POOLED, name, "auprc", "none")
            if pooled is None:
                pooled = self.value(POOLED, name, "auprc_pooled", "none")
            curves.append(Curve(name, precision, recall, operating, pooled))
        return curves


def read_run(path: Path) -> RunFolder:
    """Read a run folder.

    Raises:
        InputError: not a run folder, or a file of it that is damaged.
    """
    known = ("provenance.json", "summary.json", "scores.csv", "config.yaml")
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; give a run folder such as runs/strega/NAME")
    if not any((path / name).is_file() for name in known):
        raise InputError(
            f"{path}: not a run folder, it has none of {', '.join(known)}; give the folder that "
            "train.py printed"
        )
    absent = []
    summary = read_summary(path / "summary.json")
    said = read_record(path / "provenance.json") or summary.provenance
    record = RunRecord.from_json(said, str(path / "provenance.json"))
    scores = read_scores(path / "scores.csv")
    history = read_history(path / "metrics.csv")
    config = path / "config.yaml"
    if not scores:
        absent.append("scores.csv is missing: this run was not evaluated, so there are no scores.")
    if not said:
        absent.append("provenance.json is missing: what ran is not known in full.")
    cohort = None
    where = record.cohort.path
    if where is None:
        absent.append("The run does not name its cohort folder, so there are no pictures.")
    else:
        try:
            cohort = with_channels(read_cohort(path / where), record.sequence)
        except InputError as error:
            absent.append(f"The cohort cannot be read, so there are no pictures: {error}")
    return RunFolder(
        path=path,
        config=config.read_text(encoding="utf-8", errors="replace") if config.is_file() else "",
        record=record,
        summary=summary,
        scores=scores,
        history=history,
        cohort=cohort,
        absent=tuple(absent),
    )

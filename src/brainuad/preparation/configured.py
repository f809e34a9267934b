"""The cohort that a configuration describes, with its folds and channels."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from brainuad.cohorts.channels import with_channels
from brainuad.cohorts.folds import with_fold
from brainuad.cohorts.manifest import Cohort
from brainuad.records.fields import from_plain, known_values
from brainuad.settings.build import TARGET
from brainuad.settings.instantiate import RUN_PACKAGES, instantiate
from brainuad.settings.moved import moved

Needs = Mapping[str, bool | None]
"""Splits that a command cannot do without: True for healthy scans, None for any."""


@dataclass(frozen=True)
class CohortSettings:
    """Settings of a cohort in the group `data` of a configuration.

    Attributes:
        cohort: configuration of the function that makes it.
        sequence: sequence of the scans, or one per channel.
        folds: number of folds; 1 for the splits of the cohort.
        fold: fold that is held out.
    """

    cohort: Mapping[str, Any]
    sequence: str | Sequence[str]
    folds: int
    fold: int


def cohort_of(data: Mapping[str, Any], needs: Needs) -> Cohort:
    """Return the cohort, prepared now if it was not yet.

    Args:
        data: group `data` of a configuration, plain values.
        needs: splits that must have scans of `data.sequence`; looked at before the first scan is
            prepared, as far as the source states them.

    Raises:
        InputError: a split lacks scans; or as the cohort, its folds and its channels.
    """
    from hydra.utils import get_object

    settings = from_plain(CohortSettings, known_values(CohortSettings, data, "data"), "data")
    sequence = settings.sequence
    names = [sequence] if isinstance(sequence, str) else list(sequence)

    def check(planned: Cohort) -> None:
        # Folds are dealt later, and so are channels.
        for name in names:
            require_splits(planned, name, needs if settings.folds == 1 else {})

    make = get_object(moved(str(settings.cohort[TARGET])))
    checked = "check" in inspect.signature(make).parameters
    more = {"check": check} if checked else {}
    made: Cohort = instantiate(settings.cohort, packages=RUN_PACKAGES, **more)
    cohort = with_channels(with_fold(made, settings.folds, settings.fold), sequence)
    require_splits(cohort, sequence, needs)
    return cohort


def require_splits(cohort: Cohort, sequence: str | Sequence[str], needs: Needs) -> None:
    """Refuse a cohort that lacks scans of a split.

    Raises:
        InputError: as `Cohort.select`.
    """
    for split, healthy in needs.items():
        cohort.select(split, sequence, healthy=healthy)

"""The plots of a comparison of runs."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from brainuad.reporting.drawing import plots
from brainuad.reporting.pages.render import Plot
from brainuad.reporting.run_folder import RunFolder

MAX_PAIRS = 6


def draw(
    rows: Sequence[tuple[str, RunFolder, str]], subjects: Sequence[str], dice: np.ndarray
) -> list[Plot]:
    """Return each plot that the runs' files allow.

    Args:
        rows: name, run and method of each row of the table.
        subjects: subjects with a lesion that every row has.
        dice: `(rows, subjects)`, Dice at the healthy threshold.
    """
    return [
        *_bands(rows, subjects),
        *_volumes(rows, subjects),
        *_pairs([name for name, *_ in rows], dice),
        *_calibration(rows),
    ]


def _bands(rows: Sequence[tuple[str, RunFolder, str]], subjects: Sequence[str]) -> list[Plot]:
    precision = {}
    for name, run, method in rows:
        names = run.arrays.get(f"{method}/subjects")
        values = run.arrays.get(f"{method}/subject_precision")
        if names is not None and values is not None:
            people = {run.people[subject] for subject in subjects}
            kept = [i for i, person in enumerate(names.tolist()) if person in people]
            precision[name] = values[kept]
    caption = "Mean precision over the subjects, with 95 % bootstrap bands over subjects."
    return [Plot(plots.bands(precision), caption)] if precision else []


def _volumes(rows: Sequence[tuple[str, RunFolder, str]], subjects: Sequence[str]) -> list[Plot]:
    found = {name: run.volume_and_dice(method, subjects) for name, run, method in rows}
    points = {name: pairs for name, pairs in found.items() if pairs}
    caption = "Dice at the healthy threshold by lesion volume; lines are running medians."
    return [Plot(plots.against_volume(points), caption)] if points else []


def _pairs(names: Sequence[str], dice: np.ndarray) -> list[Plot]:
    caption = "Dice at the healthy threshold, one dot per subject; on the line both are equal."
    pairs = list(combinations(range(len(names)), 2))[:MAX_PAIRS]
    return [
        Plot(plots.paired((names[i], names[j]), dice[i], dice[j], "Dice"), caption)
        for i, j in pairs
    ]


def _calibration(rows: Sequence[tuple[str, RunFolder, str]]) -> list[Plot]:
    shares = {name: found for name, run, method in rows if (found := run.calibration(method))}
    caption = (
        "Calibration of the healthy threshold: the share of healthy test brains above it against "
        "the share asked for on validation brains."
    )
    return [Plot(plots.calibration(shares), caption)] if shares else []

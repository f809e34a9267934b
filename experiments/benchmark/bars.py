"""Bars for methods on the embedded cohort, set before any result."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from brainuad.benchmark.scores import BEATS, BELOW, GAP, POOLED, TESTED, TOO_FEW
from brainuad.reporting.tables import to_markdown

COHORTS = ("embedded", "second_sample", "both_samples")
DICE, MOST_GAP = 0.55, 0.10
"""Smallest Dice of T2w tumours at the healthy threshold, and the largest optimism gap there."""

TEXT = f"""
## The bars

What at least one method that learns is to reach on synthetic brains, all of it: significantly
above the baseline on T2w tumours and on iso-intense and dark lesions of every sequence that has
such, not significantly below it on bright FLAIR lesions, a mean Dice at the healthy threshold of
{DICE} on T2w tumours, and there an optimism gap under {MOST_GAP:.2f}. Verdicts by AP and by Dice.
Where a sequence has too few iso-intense or dark lesions to tell, those of all sequences decide,
each subject once.

"""


def bars(table: pd.DataFrame, settings: dict[str, Any]) -> str:
    """Return one table per synthetic cohort, with one row per method that learns.

    Args:
        table: statistics from `scores.results`.
        settings: settings of the benchmark.
    """
    learning = [n for n, line in settings["methods"].items() if line.get("learns", True)]
    parts = []
    for cohort in COHORTS:
        part = table[table.cohort == cohort]
        learned = [name for name in learning if name in set(part.method)]
        if learned and part.verdict.notna().any():
            parts.append(f"{cohort}:\n\n{_table(part, learned)}")
    return TEXT + "\n".join(parts) if parts else ""


def _table(part: pd.DataFrame, learned: Sequence[str]) -> str:
    """Return the table of one cohort."""
    wanted = [("T2w", "tumour")]
    for group in ("iso", "dark"):
        there = part[part.group == group].sequence
        wanted += [(sequence, group) for sequence in dict.fromkeys(there)]
    columns = [f"{group}, {sequence}: {BEATS}" for sequence, group in wanted]
    header = ["method", *columns, f"bright, FLAIR: not {BELOW}"]
    header += [f"tumour, T2w: Dice ≥ {DICE}", f"gap < {MOST_GAP:.2f}", "all of it by"]
    rows = []
    for method in learned:
        own = part[part.method == method].set_index(["sequence", "group", "metric"])
        beaten = [_verdicts(own, sequence, group) for sequence, group in wanted]
        decisive = [
            verdicts
            for (sequence, group), verdicts in zip(wanted, beaten, strict=True)
            if group == "tumour" or sequence == POOLED
        ]
        bright = _verdicts(own, "FLAIR", "bright")
        dice, gap = (_mean(own, metric) for metric in ("Dice", GAP))
        enough = dice is not None and gap is not None and dice >= DICE and gap < MOST_GAP
        by = [
            metric
            for i, metric in enumerate(TESTED)
            if enough
            and all(v[i] == BEATS for v in decisive)
            and all(v[i] in (BEATS, TOO_FEW) for v in beaten)
            and bright[i] not in (BELOW, "–")
        ]
        cells = [_words(verdicts) for verdicts in (*beaten, bright)]
        numbers = ["–" if value is None else f"{value:.3f}" for value in (dice, gap)]
        rows.append([method, *cells, *numbers, " and ".join(by) or "neither"])
    return to_markdown(header, rows)


def _verdicts(own: pd.DataFrame, sequence: str, group: str) -> list[str]:
    """By AP and by Dice."""
    keys = [(sequence, group, metric) for metric in TESTED]
    return [str(own.verdict[key]) if key in own.index else "–" for key in keys]


def _words(verdicts: Sequence[str]) -> str:
    if len(set(verdicts)) == 1:
        return verdicts[0]
    return "; ".join(f"{metric} {word}" for metric, word in zip(TESTED, verdicts, strict=True))


def _mean(own: pd.DataFrame, metric: str) -> float | None:
    key = ("T2w", "tumour", metric)
    return float(own["mean"][key]) if key in own.index else None

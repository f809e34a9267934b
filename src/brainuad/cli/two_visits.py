"""Comparison of the scans of two visits: `brainuad-predict SECOND OUT --baseline FIRST`."""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from brainuad.cli.predict_words import Asked, asked_of, sort_words
from brainuad.errors import InputError
from brainuad.machine.failures import Failures
from brainuad.machine.text import quantity, say
from brainuad.shipped import DEFAULT

if TYPE_CHECKING:
    from brainuad.inference.find_scans import Wanted

PredictAll = Callable[[Sequence[Asked], argparse.Namespace], "tuple[list[Wanted], Failures]"]


def compare_visits(
    asks: Sequence[Asked], arguments: argparse.Namespace, predict: PredictAll
) -> int:
    """Predict the scans of both visits, compare them and write tables, masks and page.

    Args:
        asks: requests for the second visit.
        arguments: command line; `baseline` is the place of the first visit.
        predict: predicts all scans of a place.

    Raises:
        InputError: no such first scan, the same scans twice, or other sequences.
        PartialFailure: some scans or pairs failed, the others are done.
    """
    from brainuad.inference.visits import BASELINE, compare_pairs, paired

    scans, out, before = asks[0].scans, asks[0].out, arguments.baseline
    _require_two(before, scans)
    earlier = argparse.Namespace(**vars(arguments))
    word, _, _, changes = sort_words(arguments.words, arguments.model)
    earlier.model, earlier.dicom_seg = None, False
    earlier.words = [word or DEFAULT, str(before), str(out / BASELINE), *changes]
    asks_before = asked_of(earlier)
    _require_one_sequence(before, asks_before, scans, asks)
    first, failures = predict(asks_before, earlier)
    second, more = predict(asks, arguments)
    pairs, alone = paired(first, second)
    if arguments.dry_run:
        say(f"to compare: {quantity(len(pairs), 'pair')}", *_listed(alone), sep="\n")
        return 0
    from brainuad.changes.compare import Compare

    failures += more + compare_pairs(pairs, out, Compare()) + alone
    say(f"{out}: {quantity(len(pairs), 'pair')}; see pairs.csv and changes.csv")
    if not arguments.no_page:
        from brainuad.reporting.attempt import attempt
        from brainuad.reporting.pages.changes import write_changes_page

        attempt(partial(write_changes_page, out, arguments.anonymous), "look at", bool(failures))
    failures.raise_if_any()
    return 0


def _listed(failures: Failures) -> list[str]:
    return [f"{name}: {reason}" for name, reason in failures]


def _require_two(first: Path, second: Path) -> None:
    if not first.exists():
        raise InputError(f"{first}: no such file or folder; check --baseline")
    if second.exists() and first.samefile(second):
        raise InputError(
            f"{first}: given as both visits; give the earlier scan with --baseline, the later as "
            "SCANS"
        )


def _require_one_sequence(
    first: Path, earlier: Sequence[Asked], second: Path, later: Sequence[Asked]
) -> None:
    """Refuse visits without a sequence in common, where the model is chosen by it."""
    one, two = ({asked.choices["sequence"] for asked in asks} for asks in (earlier, later))
    if not one & two:
        raise InputError(
            f"{first}: has {' and '.join(sorted(map(str, one)))} scans, {second} "
            f"{' and '.join(sorted(map(str, two)))}; give two visits with one sequence"
        )

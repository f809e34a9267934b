"""Measure the false-positive rate of the threshold `scan` on healthy people it was not fitted on.

python -m experiments.thresholds.study OUT NAME=COHORT,SEQUENCE,MAPS ... [--across A:B ...]

Only healthy scans are looked at: `val` to fit, `test` to measure.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from brainuad.cohorts.manifest import Cohort, read_cohort
from brainuad.cohorts.map_folder import MapFolder
from brainuad.evaluation.score_maps import ScoreMaps
from brainuad.evaluation.thresholds import healthy_scores
from brainuad.machine.files import write_text
from brainuad.machine.text import csv_text
from brainuad.postprocess.erode import ErodeBrainMask
from brainuad.postprocess.pipeline import Postprocess
from brainuad.postprocess.smooth import Median
from brainuad.postprocess.threshold import HealthyThreshold, Scale, UpperSpread

ALPHA = 0.01
UPPER = (0.75, 0.84, 0.90, 0.95)

Scores = list[np.ndarray]
Rule = Callable[..., Scale]


def trimmed(scores: np.ndarray, ordered: bool = True) -> Scale:
    """Mean and standard deviation of the lower 95 %."""
    lower = scores[: int(0.95 * scores.size)].astype(np.float64)
    return Scale(float(lower.mean()), float(lower.std()))


SCALES = {
    "healthy": None,
    **{f"median, q{100 * upper:.0f}": UpperSpread(0.5, (upper,)) for upper in UPPER},
    "lower 95 %": trimmed,
}
"""Scale of a scan's scores; None for the scores as they are."""


def load(cohort: Path, sequence: str, maps: Path, postprocess: Postprocess) -> dict[str, Scores]:
    """Sorted scores of the brains of a cohort's healthy `val` and `test` scans."""
    found = {}
    whole = read_cohort(cohort)
    for split in ("val", "test"):
        # The function takes `val`: the other split stands in its place.
        own = tuple(replace(one, split="val") for one in whole.scans if one.split == split)
        part = Cohort(whole.root, own, whole.info)
        with tempfile.TemporaryDirectory() as spool:
            own = ScoreMaps(MapFolder(maps), postprocess, "prepared")
            scores, _ = healthy_scores(part, sequence, own, Path(spool))
            found[split] = [np.array(one) for one in scores]
    return found


def marked(fit_on: Scores, test: Scores, rule: Rule | None) -> float:
    """Share of the test brains above the threshold, in %, of those whose scale has a spread.

    NaN where the scale of a brain that is fitted on has none.
    """
    how = rule or (lambda one, ordered: Scale(0.0, 1.0))
    known, new = ([how(one, ordered=True) for one in part] for part in (fit_on, test))
    if min(scale.spread for scale in known) <= 0:
        return float("nan")
    value = HealthyThreshold(ALPHA).fit(fit_on, ordered=True, scales=known)
    pairs = [(one, scale) for one, scale in zip(test, new, strict=True) if scale.spread > 0]
    return float(100 * np.mean([(one > scale.at(value)).mean() for one, scale in pairs]))


def main() -> int:
    """Writes `OUT/promise.csv`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("sets", nargs="+", metavar="NAME=COHORT,SEQUENCE,MAPS")
    parser.add_argument("--across", action="append", default=[], metavar="A:B")
    arguments = parser.parse_args()
    # As postprocess=default.
    chain = [Median(5.0), ErodeBrainMask(3.0)]
    postprocess = Postprocess(chain, HealthyThreshold(ALPHA), [])
    sets = {}
    for word in arguments.sets:
        name, _, place = word.partition("=")
        cohort, sequence, maps = place.split(",")
        sets[name] = load(Path(cohort), sequence, Path(maps), postprocess)
    pairs = [(name, name) for name in sets] + [tuple(pair.split(":")) for pair in arguments.across]
    rows = [
        {"fitted on": a, "measured on": b, "scans": len(sets[b]["test"])}
        | {how: marked(sets[a]["val"], sets[b]["test"], rule) for how, rule in SCALES.items()}
        for a, b in pairs
    ]
    table = pd.DataFrame(rows).round(2)
    write_text(arguments.out / "promise.csv", csv_text(table, float_format="%.4g"))
    return 0


if __name__ == "__main__":
    sys.exit(main())

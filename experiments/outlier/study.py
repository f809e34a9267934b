"""Robust tissue outliers on real scans, with nothing fitted, scored in native space.

    BRAINUAD_REAL_DATA=FOLDER python -m experiments.outlier.study [--work FOLDER]

prepares the benchmark's real cohorts (kept in `--work`) and writes `results.md` and `results.csv`
beside this file.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from brainuad.benchmark.cohorts import elderly, flair_cases, lgg, real_cases, t2_cases
from brainuad.benchmark.tables import write_results
from brainuad.cohorts.manifest import Cohort, read_cohort
from brainuad.cohorts.map_folder import MapFolder
from brainuad.evaluation.maps import evaluate_maps
from brainuad.inference.maps import fill
from brainuad.machine.failures import Failures
from brainuad.machine.files import write_text
from brainuad.methods.base import AnomalyDetector
from brainuad.methods.outlier import Outlier
from brainuad.model.model import Model
from brainuad.model.runtime import Runtime
from brainuad.postprocess.components import RemoveSmall
from brainuad.postprocess.pipeline import Postprocess
from brainuad.postprocess.threshold import HealthyThreshold
from brainuad.preparation.model_input import NormalisedInput
from brainuad.preparation.normalise.released import VolumeQuantiles
from brainuad.reporting.tables import to_markdown
from brainuad.types import Detection
from brainuad.volumes.tiling import VolumeTiling

HERE = Path(__file__).parent
SEQUENCES = {"FLAIR": "positive", "T2w": "positive", "T1w": "negative"}
METHODS: dict[str, dict[str, Any]] = {
    "outlier": {},
    "outlier, trimmed": {"robust": "trimmed"},
    "outlier, no limit": {"limit": float("inf")},
    "outlier, no place": {"place": False},
}
BRIGHTNESS = "brightness"
PEOPLE = {
    ("elderly", "wmh"): "elderly people",
    ("lgg", "tumour"): "low-grade gliomas, raw heads",
    ("flair_cases", "tumour"): "gliomas in BraTS space",
    ("flair_cases", "wmh"): "people with white matter hyperintensities",
    ("t2_cases", "wmh"): "people with white matter hyperintensities",
    ("t2_cases", "stroke"): "old stroke",
}
"""Cohort and pathology to the title of a mean; others of these cohorts are in `real_cases`."""

CHAIN = Postprocess([], HealthyThreshold(), [RemoveSmall(24.0)])
SHOWN = {("none", "auprc"): "AP", ("healthy", "dice"): "Dice at 3", ("oracle", "dice"): "⌈Dice⌉"}
INTRODUCTION = """# Results

Written by `study.py`; do not edit. Scores in each scan's own space. Nothing is fitted: `Dice at 3`
is that of the score above 3, components of 24 mm³ and more; ⌈Dice⌉ that of the best threshold for
each scan. `brightness` is the intensity itself, on T1w darkness. Rows of several people are means;
the elderly people's truth is automatic.
"""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/outlier"))
    work = parser.parse_args().work
    root = os.environ.get("BRAINUAD_REAL_DATA")
    if not root:
        sys.exit("BRAINUAD_REAL_DATA is not set: give the folder of real scans")
    cohorts: dict[tuple[str, int], Callable[[], Path]] = {
        ("real_cases", 2): lambda: real_cases(Path(root), work / "cohorts"),
        ("elderly", 2): lambda: elderly(Path(root), work / "cohorts"),
        ("lgg", 2): lambda: lgg(Path(root), work / "cohorts"),
        ("flair_cases", 2): lambda: flair_cases(Path(root), work / "cohorts"),
        ("t2_cases", 2): lambda: t2_cases(Path(root), work / "cohorts"),
        ("real_cases", 1): lambda: real_cases(Path(root), work / "cohorts", 1),
    }
    rows = []
    for (name, spacing_mm), make in cohorts.items():
        cohort = read_cohort(make())
        for sequence in SEQUENCES:
            folder = work / f"{name}_{spacing_mm}mm" / sequence
            if not cohort.select("test", sequence, allow_empty=True):
                continue
            if not (folder / "scores.csv").is_file():
                few = {name: METHODS[name] for name in ("outlier", "outlier, trimmed")}
                methods = METHODS if name in ("real_cases", "elderly") else few
                methods = methods if spacing_mm == 2 else {"outlier": METHODS["outlier"]}
                found = scored(cohort, sequence, methods, folder)
                found = found.assign(cohort=name, spacing_mm=spacing_mm)
                found.to_csv(folder / "scores.csv", index=False)
            rows.append(pd.read_csv(folder / "scores.csv"))
    table = pd.concat(rows)
    write_results(HERE / "results.csv", table)
    text = to_text(table)
    write_text(HERE / "results.md", text)
    print(text)


class Brightness(AnomalyDetector):
    """The intensity, or 1 less it.

    Args:
        side: `positive` for bright lesions.
    """

    def __init__(self, side: str) -> None:
        super().__init__()
        self.side = side

    def score(self, image: torch.Tensor, brain_mask: torch.Tensor) -> Detection:
        """Return the intensity of the first channel as the score."""
        return Detection(image if self.side == "positive" else 1 - image, None)


def scored(
    cohort: Cohort, sequence: str, methods: dict[str, dict[str, Any]], folder: Path
) -> pd.DataFrame:
    """One row a subject, method and metric of one sequence, with the seconds a scan."""
    side = SEQUENCES[sequence]
    # As input=range has it: the brightest voxels keep their order.
    how = NormalisedInput(VolumeQuantiles(0.0, 1.0))
    scans, failures = cohort.select("test", sequence), Failures()
    runtime = Runtime(batch_size=1, cache=folder / "input")
    scorers: dict[str, Model] = {
        name: Model(Outlier(side, **options), None, VolumeTiling(), how, runtime=runtime)
        for name, options in methods.items()
    }
    scorers[BRIGHTNESS] = Model(Brightness(side), None, VolumeTiling(), how, runtime=runtime)
    seconds = {}
    for name, scorer in scorers.items():
        title = f"{sequence}, {name}"
        seconds[name] = fill(MapFolder(folder / name), scans, scorer, failures, title)
    maps = {name: folder / name for name in seconds}
    # Brightness has no threshold of its own: nothing is above 1.
    thresholds = dict.fromkeys(maps, Outlier.traits.own_threshold) | {BRIGHTNESS: 1.0}
    found = evaluate_maps(cohort, sequence, maps, CHAIN, thresholds=thresholds)
    if failures := [*failures, *found.failures]:
        sys.exit(f"could not be scored: {failures}")
    table = found.scores
    size = table[table.metric == "lesion_ml"].groupby("subject").value.first()
    keys = list(zip(table.threshold, table.metric, strict=True))
    table = table.assign(metric=[SHOWN.get(key) for key in keys]).dropna(subset="metric")
    table = table.assign(lesion_ml=table.subject.map(size), seconds=table.method.map(seconds))
    kept = ["subject", "pathology", "sequence", "lesion_ml", "method", "metric", "value", "seconds"]
    return table[kept]


def to_text(table: pd.DataFrame) -> str:
    """The page of results."""
    text = INTRODUCTION
    for (spacing_mm, sequence), part in table.groupby(["spacing_mm", "sequence"], sort=False):
        text += f"\n## {sequence}, prepared at {spacing_mm} mm\n\n" + _table(part)
    own = table[(table.method == "outlier") & (table.seconds > 0)]
    times = own.groupby("spacing_mm").seconds.mean()
    if len(times):
        said = ", ".join(f"{value:.1f} s at {mm} mm" for mm, value in times.items())
        text += f"\nA scan takes {said}, one thread.\n"
    return text


def _table(part: pd.DataFrame) -> str:
    groups: list[tuple[str, Sequence[str]]] = []
    for (cohort, subject), own in part.groupby(["cohort", "subject"], sort=False):
        if cohort == "real_cases":
            row = own.iloc[0]
            groups.append((f"{row.pathology}, {row.lesion_ml:.1f} ml", [subject]))
    for key, title in PEOPLE.items():
        own = part[(part.cohort == key[0]) & (part.pathology == key[1])].subject.unique()
        if len(own):
            groups.append((f"{len(own)} {title}", list(own)))
    rows = []
    for title, subjects in groups:
        member = part[part.subject.isin(subjects)]
        wide = member.pivot_table(index="method", columns="metric", values="value", sort=False)
        for method, values in wide.iterrows():
            cells = [f"{values[metric]:.3f}" for metric in SHOWN.values()]
            if method == BRIGHTNESS:
                cells[1] = "–"
            rows.append([title, str(method), *cells])
    return to_markdown(["people", "method", *SHOWN.values()], rows)


if __name__ == "__main__":
    main()

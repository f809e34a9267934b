"""Averages of several methods' maps, chosen on painted strokes and tested on real ones.

    BRAINUAD_REAL_DATA=FOLDER python -m experiments.ensembles.study

takes the models of `python -m experiments.real soop`. Every average of two and of three of them is
scored on strokes painted into the quiet validation slices; the best average is then tested on the
strokes of `soop`, beside its members. No test slice is part of the choice. An average is what
`brainuad-predict A SCANS OUT --also B` computes: maps divided by their models' thresholds, their
mean, the post-processing.
"""

import argparse
import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from brainuad.cohorts.manifest import Cohort, Scan
from brainuad.cohorts.map_folder import MapFolder
from brainuad.errors import InputError
from brainuad.evaluation.maps import evaluate_maps
from brainuad.inference.maps import fill
from brainuad.label_free.objective import ap_of
from brainuad.metrics.statistics import holm, paired_wilcoxon, summarise
from brainuad.model.model import Model
from brainuad.model.runtime import Runtime
from brainuad.reporting.run_folder import read_run
from brainuad.reporting.tables import to_markdown
from brainuad.synthetic.lesions.fillings import IntensityShift
from brainuad.synthetic.lesions.shapes import Soft
from brainuad.synthetic.masks.from_lesions import LesionHoles
from brainuad.synthetic.painted import painted_scans
from brainuad.volumes.nifti import write_volume

HERE = Path(__file__).parent
METHODS = (
    *("intensity", "dae", "ae", "vae", "pddpm", "fpi", "disyre", "strega", "autopaint", "madad"),
    *("madad_mask", "patchcore", "fpi_shapes"),
)
CONTRASTS = (0.1, 0.3)
"""Brightness that a painted stroke adds, as a share of the range of the brain's intensities."""

DRAWS = 1
"""Number of painted copies of each validation slice."""

CLEAR = "clear stroke"
NAMES = ("AP", "Dice", "Dice at 1")

INTRODUCTION = """# Results

Written by `python -m experiments.ensembles.study`; do not edit. **painted AP**: mean over {count} \
strokes painted into {people} quiet validation slices, which chose the averages of methods. \
**AP**: mean over the strokes of `soop` [95 % bootstrap interval], all and clear ones. **Dice**: \
at the healthy threshold of the average's own maps; **Dice at 1**: at the threshold of \
`brainuad-predict --also`. p: AP of all strokes against the best single method, paired Wilcoxon \
signed-rank, Holm-corrected over the averages.

"""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/real/soop"), help="run folders")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the table")
    parser.add_argument("--work", type=Path, default=Path("runs/ensembles"), help="maps")
    arguments = parser.parse_args()
    real = os.environ.get("BRAINUAD_REAL_DATA")
    if not real:
        sys.exit("set BRAINUAD_REAL_DATA to the folder of real scans")
    torch.set_num_threads(1)
    cohort = read_run(arguments.runs / "intensity" / "FLAIR-0").cohort
    if cohort is None:
        sys.exit(f"{arguments.runs}: no finished run; run experiments.real soop first")
    models = dict(found_models(arguments.runs))
    holes = LesionHoles(Path(real) / "soop_lesion_shapes_mni", radius=(3, 48), most=4)
    painted, failures = painted_scans(
        cohort.select("val", "FLAIR", healthy=True), DRAWS, arguments.work, strokes(holes)
    )
    folders = {}
    for name, model in models.items():
        folders[name] = MapFolder(arguments.work / "maps" / name.replace("/", "-"))
        fill(folders[name], painted, model.on_device(), failures, name)
    if failures:
        raise InputError(f"{failures[0][0]}: {failures[0][1]}")
    table = painted_scores(models, folders, painted, arguments.work)
    table.to_csv(arguments.out / "painted.csv", index=False, float_format="%.4g")
    rows = tested(cohort, models, chosen(table), arguments.runs, arguments.work)
    result = table.merge(pd.DataFrame(rows), on="average")
    result.to_csv(arguments.out / "results.csv", index=False, float_format="%.4g")
    people = len({scan.image for scan in cohort.select("val", "FLAIR", healthy=True)})
    text = INTRODUCTION.format(count=len(painted), people=people)
    cells = [[str(value) for value in row] for row in shown(result).to_numpy().tolist()]
    (arguments.out / "results.md").write_text(text + to_markdown(list(shown(result)), cells) + "\n")


def found_models(runs: Path) -> Iterator[tuple[str, Model]]:
    """Yield the finished models with a threshold above 0, each seed."""
    for name in METHODS:
        for run in sorted((runs / name).glob("FLAIR-*")):
            if not (run / "scores.csv").is_file():
                continue
            model = Model.load(run, Runtime(batch_size=32))
            if (model.card.threshold or 0) > 0:
                yield f"{name}/{run.name[-1]}", model


def strokes(holes: LesionHoles) -> IntensityShift:
    """Return what paints one to four strokes of 3 to 48 mm, faint or clear, of any texture."""
    return IntensityShift(Soft(holes, 1.6), CONTRASTS, 0.92, (0.2, 1.0))


def scale(model: Model) -> float:
    """Return the threshold of a model, by which its maps are divided."""
    return float(model.card.threshold or np.nan)


def combinations(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield single models, averages of two and three methods, and of all seeds of one method."""
    first = [name for name in names if name.endswith("/0")]
    yield from ((name,) for name in first)
    yield from itertools.combinations(first, 2)
    yield from itertools.combinations(first, 3)
    for name in first:
        seeds = tuple(one for one in names if one.startswith(name[:-1]))
        if len(seeds) > 1:
            yield seeds


def painted_scores(
    models: dict[str, Model], folders: dict[str, MapFolder], painted: Sequence[Scan], work: Path
) -> pd.DataFrame:
    """Return the mean AP of every average over the painted strokes, best first."""
    postprocess = next(iter(models.values())).postprocess
    rows = []
    mean = MapFolder(work / "mean")
    loaded = {
        name: [folders[name].map(scan.subject).array / scale(model) for scan in painted]
        for name, model in models.items()
    }
    for names in combinations(list(models)):
        values = []
        for index, scan in enumerate(painted):
            array = np.mean([loaded[name][index] for name in names], axis=0)
            affine = folders[names[0]].map(scan.subject).affine
            write_volume(mean.file(scan.subject), array.astype(np.float32), affine)
            values.append(ap_of(scan, mean, postprocess))
        average = " + ".join(names)
        rows.append({"average": average, "members": len(names), "painted AP": np.mean(values)})
    return pd.DataFrame(rows).sort_values("painted AP", ascending=False, ignore_index=True)


def chosen(table: pd.DataFrame) -> list[str]:
    """Return single models, the best average of two and of three methods, and those of seeds."""
    several = table[table.members > 1]
    seeds = several[several.average.str.contains("/1")]
    methods = several.drop(seeds.index)
    best = [part.average.iloc[0] for _, part in methods.groupby("members")]
    return [*table[table.members == 1].average, *best, *seeds.average]


def tested(
    cohort: Cohort, models: dict[str, Model], averages: Sequence[str], runs: Path, work: Path
) -> list[dict[str, Any]]:
    """Return the scores on the test strokes, of averages from the maps in the run folders."""
    kept = {}
    for average in averages:
        members = average.split(" + ")
        folders = [runs / member.replace("/", "/FLAIR-") for member in members]
        if len(members) == 1:
            scores = pd.read_csv(folders[0] / "scores.csv")
            scores = scores[scores.method == members[0].split("/")[0]]
        else:
            scales = [scale(models[member]) for member in members]
            scores = tested_average(cohort, folders, scales, work / "tested" / average)
        kept[average] = scores[scores.pathology.fillna("") != ""]
        print(average, flush=True)
    best = max((a for a in averages if " + " not in a), key=lambda a: _values(kept[a])[0].mean())
    several = [average for average in averages if " + " in average]
    tests = [paired_wilcoxon(_values(kept[a])[0], _values(kept[best])[0]) for a in several]
    p = dict(zip(several, holm(tests), strict=True))
    return [{"average": a, **row(kept[a]), "p": p.get(a)} for a in averages]


def tested_average(
    cohort: Cohort, folders: Sequence[Path], scales: Sequence[float], work: Path
) -> pd.DataFrame:
    """Return the scores of the mean of maps, each divided by its model's threshold."""
    mean = MapFolder(work.with_name(work.name.replace("/", "-").replace(" ", "")))
    sources = [MapFolder(folder / "prepared") for folder in folders]
    for scan in [*cohort.select("val", "FLAIR"), *cohort.select("test", "FLAIR")]:
        # A scan without a map is listed by the evaluation.
        if mean.has(scan.subject) or not all(one.has(scan.subject) for one in sources):
            continue
        maps = [source.map(scan.subject) for source in sources]
        scaled = [one.array / by for one, by in zip(maps, scales, strict=True)]
        array = np.mean(scaled, axis=0).astype(np.float32)
        write_volume(mean.file(scan.subject), array, maps[0].affine)
    postprocess = Model.load(folders[0]).postprocess
    own = {"average": mean.path}
    return evaluate_maps(cohort, "FLAIR", own, postprocess, fixed={"average": 1.0}).scores


def _values(scores: pd.DataFrame, group: str | None = None) -> list[np.ndarray]:
    """Return AP, Dice at the healthy threshold and Dice at 1 of each subject with a stroke.

    A single model's own threshold is 1 on its scale.
    """
    part = scores if group is None else scores[scores.pathology == group]
    at_one = "fixed" if "average" in set(scores.method) else "healthy"
    wanted = (("none", "auprc"), ("healthy", "dice"), (at_one, "dice"))
    return [
        part[(part.threshold == threshold) & (part.metric == metric)]
        .sort_values("subject")
        .value.to_numpy(float)
        for threshold, metric in wanted
    ]


def row(scores: pd.DataFrame) -> dict[str, float]:
    """Return means and intervals, over all strokes and over the clear ones."""
    found: dict[str, float] = {}
    # People without a stroke in the slice have a Dice, but no AP.
    for title, group, names in (("", None, ("AP",)), (", clear", CLEAR, NAMES)):
        for name, values in zip(names, _values(scores, group), strict=False):
            summary = summarise(values)
            found[f"{name}{title}"] = summary.mean
            found[f"{name}{title}, low"] = summary.ci_low
            found[f"{name}{title}, high"] = summary.ci_high
    return found


def shown(result: pd.DataFrame) -> pd.DataFrame:
    """Return the table for people: each mean with its interval."""
    table = pd.DataFrame({"average": result.average})
    table["painted AP"] = result["painted AP"].map("{:.3f}".format)
    for name in [column for column in result if f"{column}, low" in result]:
        three = zip(result[name], result[f"{name}, low"], result[f"{name}, high"], strict=True)
        table[name] = [f"{mean:.3f} [{low:.3f}, {high:.3f}]" for mean, low, high in three]
    table["p"] = ["–" if pd.isna(value) else f"{value:.2g}" for value in result["p"]]
    return table


if __name__ == "__main__":
    main()

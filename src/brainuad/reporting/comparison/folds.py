"""One table of a cross-validation with several seeds (docs/explanation/protocol.md#1-splits)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from brainuad.errors import InputError
from brainuad.metrics.statistics import by_person, summarise
from brainuad.reporting.comparison.runs import (
    DESCRIBED,
    METRICS,
    Comparison,
    is_best,
    paired_tests,
    require_same,
    shown_columns,
)
from brainuad.reporting.run_folder import RunFolder, read_run

_SAME = ("cohort", "sequence", "space")


@dataclass(frozen=True)
class Design:
    """A scored run and its place in the cross-validation.

    Attributes:
        run: its folder.
        fold: which part was for validation.
        folds: number of folds.
        seed: seed of the training.
    """

    run: RunFolder
    fold: int
    folds: int
    seed: int


def find_runs(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Return the scored run folders in and below some folders, and the unfinished ones.

    Raises:
        InputError: a folder that is not there, or no scored run.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            raise InputError(f"{path}: no such folder; give the folder of the runs")
        found += sorted({config.parent for config in path.rglob("config.yaml")})
    # W&B writes a config.yaml of its own, in wandb/run-…/files.
    runs = [path for path in dict.fromkeys(found) if path.name != "files"]
    scored = [path for path in runs if (path / "scores.csv").is_file()]
    if not scored:
        raise InputError(f"{paths[0]}: no scored run below; train with sweep=folds_seeds first")
    return scored, [path for path in runs if path not in scored]


def compare_folds(paths: Sequence[Path]) -> tuple[Comparison, pd.DataFrame]:
    """Return the means of every method and control over folds and seeds.

    Args:
        paths: folders of scored runs of one cohort; test subjects are the same in every fold.

    Returns:
        The table, and the mean of each run: `method`, `fold`, `seed`, `metric`, `mean`.

    Raises:
        InputError: runs that do not belong together, or two of one method, fold and seed.
    """
    designs = [_read(path) for path in paths]
    for design in designs:
        _require_same(designs[0], design)
    methods = list(dict.fromkeys(d.run.method for d in designs))
    methods += sorted({m for d in designs for m in d.run.methods} - set(methods))
    members = {method: _of(method, designs) for method in methods}
    lesions = [d.run.with_lesion(method) for method, of in members.items() for d in of]
    subjects = sorted(set.intersection(*lesions))
    if not subjects:
        raise InputError(f"{paths[0]}: no subject with a lesion is scored in every run")
    people = [designs[0].run.people[subject] for subject in subjects]
    columns = (*METRICS, *DESCRIBED)
    tables = {
        (method, title): pd.DataFrame(
            by_person(
                np.array([d.run.values(subjects, method, metric, threshold) for d in of]),
                people,
            ),
            index=pd.MultiIndex.from_tuples([(d.fold, d.seed) for d in of], names=("fold", "seed")),
        )
        for method, of in members.items()
        for title, threshold, metric in columns
    }
    # A subject's mean over the runs: what is tested, and what the interval is over.
    by_subject = {
        title: np.array([tables[method, title].mean().to_numpy(float) for method in methods])
        for title, *_ in columns
    }
    shown = shown_columns(by_subject)
    tests = paired_tests(methods, by_subject)
    rows = []
    for i, method in enumerate(methods):
        cells = [_cell(tables[method, title]) for title in shown]
        stars = [
            " *" if is_best(by_subject[title], i, methods, tests, title) else "" for title in shown
        ]
        seeds = len({d.seed for d in members[method]})
        folds = len({d.fold for d in members[method]})
        counts = [str(folds), str(seeds), str(len(members[method]))]
        joined = [cell + star for cell, star in zip(cells, stars, strict=True)]
        rows.append([method, *counts, *joined])
    means = pd.DataFrame(
        [
            {"method": method, "fold": fold, "seed": seed, "metric": title, "mean": mean}
            for (method, title), table in tables.items()
            if title in shown
            for (fold, seed), mean in table.mean(axis=1).items()
        ]
    )
    header = ["method", "folds", "seeds", "runs", *shown]
    note = _NOTE + _missing(members, designs[0].folds)
    return Comparison(header, rows, tests, len(set(people)), [], note), means


_NOTE = (
    "Mean over folds of the per-fold means ± standard deviation over folds (± standard deviation "
    "over seeds) [95 % bootstrap interval over test subjects of a subject's mean over all runs]. "
    "* marks the best of a column when it differs from every other row: paired Wilcoxon "
    "signed-rank test over subjects, Holm-corrected, p < 0.05; the columns of other thresholds are "
    "not tested."
)


def _read(path: Path) -> Design:
    run = read_run(path)
    try:
        config = yaml.safe_load(run.config)
        data = config["data"]
        return Design(run, int(data["fold"]), int(data["folds"]), int(config["seed"]))
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        raise InputError(f"{path / 'config.yaml'}: tells no fold and seed; train it anew") from None


def _require_same(first: Design, other: Design) -> None:
    facts = {
        key: (getattr(first.run.summary, key), getattr(other.run.summary, key)) for key in _SAME
    }
    facts["data.folds"] = (first.folds, other.folds)
    require_same(first.run, other.run, facts, "give the runs of one cross-validation")


def _of(method: str, designs: Sequence[Design]) -> list[Design]:
    """Return the runs of a method; those of the first method for a control."""
    own = [design for design in designs if design.run.method == method]
    if not own:
        beside = next(d.run.method for d in designs if method in d.run.methods)
        scored = [design for design in designs if method in design.run.methods]
        own = [design for design in scored if design.run.method == beside]
    seen: dict[tuple[int, int], Path] = {}
    for design in own:
        key = (design.fold, design.seed)
        if key in seen:
            raise InputError(
                f"{design.run.path}: is of the same method, fold and seed as {seen[key]}; give "
                "one of them"
            )
        seen[key] = design.run.path
    return own


def _cell(table: pd.DataFrame) -> str:
    """Return the text of a cell from rows of (fold, seed) and columns of subjects."""
    runs = table.mean(axis=1)
    if runs.isna().all():
        return "–"
    folds, seeds = runs.groupby("fold").mean(), runs.groupby("seed").mean()
    spread = f" ± {folds.std(ddof=1):.3f}" if len(folds) > 1 else ""
    between = f" (± {seeds.std(ddof=1):.3f})" if len(seeds) > 1 else ""
    over = summarise(table.mean().to_numpy(float))
    return f"{folds.mean():.3f}{spread}{between} [{over.ci_low:.3f}, {over.ci_high:.3f}]"


def _missing(members: dict[str, list[Design]], folds: int) -> str:
    """Return in words the folds and seeds of a method that have no run."""
    lacking = []
    for method, designs in members.items():
        have = {(design.fold, design.seed) for design in designs}
        wanted = {(f, s) for f in range(folds) for s in {seed for _, seed in have}}
        lacking += [f"{method} fold {f} seed {s}" for f, s in sorted(wanted - have)]
    return f" Missing: {', '.join(lacking)}." if lacking else ""

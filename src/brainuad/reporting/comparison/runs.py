"""One table of several runs, with paired tests (docs/explanation/protocol.md#6-comparisons)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainuad.errors import InputError
from brainuad.machine.files import write_text
from brainuad.machine.text import csv_text, one_line, quantity
from brainuad.metrics.registry import BY_NAME
from brainuad.metrics.statistics import by_person, holm, paired_wilcoxon, summarise
from brainuad.reporting.comparison import plots as compare_plots
from brainuad.reporting.pages.render import Plot, Table, render
from brainuad.reporting.run_folder import CONTROL, RunFolder, read_run
from brainuad.reporting.tables import LABEL_FREE, to_markdown

METRICS = (
    ("AP", "none", "auprc"),
    ("Dice, healthy threshold", "healthy", "dice"),
    ("⌈Dice⌉, oracle", "oracle", "dice"),
    ("lesion F1", "healthy", "lesion_f1"),
    ("HD95, mm", "healthy", "hd95_mm"),
)
"""Title, threshold and metric of the columns; the record of a metric says which way is better."""

DESCRIBED = tuple(
    (f"Dice, {name} threshold", name, "dice") for name in LABEL_FREE if name != "healthy"
)
"""Further columns, where a row has them; not tested, so that they cost the others nothing."""

SIGNIFICANT = 0.05
_SAME = ("cohort", "sequence", "space", "split_hash")
_NOTE = (
    "Mean ± standard deviation [95 % interval] over the subjects with a lesion that every row "
    "has, a person's mean where people have several scans. "
    "* marks the best of a column when it differs from every other row: paired Wilcoxon "
    f"signed-rank test, Holm-corrected over all pairs and columns, p < {SIGNIFICANT}; the "
    "columns of other thresholds are not tested."
)


@dataclass(frozen=True)
class Comparison:
    """The result of `compare_runs`.

    Attributes:
        header: titles of the columns.
        rows: a row a run, and one for the intensity control; cells as text.
        tests: a row a pair and metric: `metric`, `first`, `second`, `difference` of the means,
            `p` and Holm's `p_holm`.
        subjects: how many were compared.
        plots: drawings.
        note: what a cell says.
    """

    header: list[str]
    rows: list[list[str]]
    tests: pd.DataFrame
    subjects: int
    plots: list[Plot]
    note: str = _NOTE


def compare_runs(paths: Sequence[Path]) -> Comparison:
    """Compare runs of one cohort, split, sequence and space, subject by subject.

    Args:
        paths: two run folders or more.

    Raises:
        InputError: fewer than two, a folder that is no scored run, runs that cannot be compared,
            or no subject in common.
    """
    if len(paths) < 2:
        raise InputError("compare needs two run folders or more: brainuad-report compare RUN RUN")
    runs = [read_run(path) for path in paths]
    for run in runs:
        if not run.scores or not run.summary.results:
            raise InputError(f"{run.path}: has no scores; evaluate it first")
        facts = {key: (getattr(runs[0].summary, key), getattr(run.summary, key)) for key in _SAME}
        remedy = "compare runs of one cohort, split, sequence and space"
        require_same(runs[0], run, facts, remedy)
    rows = [(run, run.method) for run in runs]
    if CONTROL in runs[0].methods and CONTROL not in [method for _, method in rows]:
        rows.append((runs[0], CONTROL))
    names = _names([method for _, method in rows], [run.path.resolve().name for run, _ in rows])
    subjects = sorted(set.intersection(*(run.with_lesion(method) for run, method in rows)))
    if not subjects:
        raise InputError(f"{paths[0]}: no subject with a lesion is scored in every run")
    values = {
        title: np.array([run.values(subjects, method, metric, threshold) for run, method in rows])
        for title, threshold, metric in (*METRICS, *DESCRIBED)
    }
    people = [runs[0].people[subject] for subject in subjects]
    dice = values["Dice, healthy threshold"]
    # People are what is drawn anew, and what is tested.
    values = {title: by_person(found, people) for title, found in values.items()}
    shown = shown_columns(values)
    tests = paired_tests(names, values)
    cells = [
        [name, *(_cell(values[title], i, names, tests, title) for title in shown)]
        for i, name in enumerate(names)
    ]
    plots = compare_plots.draw(
        [(name, run, method) for name, (run, method) in zip(names, rows, strict=True)],
        subjects,
        dice,
    )
    header = ["run", *shown]
    return Comparison(header, cells, tests, len(set(people)), plots)


def write_comparison(comparison: Comparison, out: Path, name: str = "compare") -> None:
    """Write `<name>.md`, `.tex`, `.html`, `.csv` (the table) and `tests.csv`, atomically."""
    note = f"{comparison.note} Subjects: {comparison.subjects}."
    table = to_markdown(comparison.header, comparison.rows)
    write_text(out / f"{name}.md", f"{table}\n{note}\n")
    write_text(out / f"{name}.tex", _latex(comparison, note))
    frame = pd.DataFrame(comparison.rows, columns=comparison.header)
    write_text(out / f"{name}.csv", csv_text(frame))
    write_text(out / "tests.csv", csv_text(comparison.tests))
    page = render(
        "comparison.html",
        title="Comparison",
        subtitle="",
        runs=Table(comparison.header, comparison.rows, quantity(comparison.subjects, "subject")),
        note=comparison.note,
        drawn=comparison.plots,
    )
    write_text(out / f"{name}.html", page)


def shown_columns(values: dict[str, np.ndarray]) -> list[str]:
    """Return the titles of the columns: `METRICS`, and those of `DESCRIBED` with a value.

    Args:
        values: column to `(rows, subjects)`.
    """
    more = [title for title, *_ in DESCRIBED if not np.isnan(values[title]).all()]
    return [*(title for title, *_ in METRICS), *more]


def paired_tests(names: list[str], values: dict[str, np.ndarray]) -> pd.DataFrame:
    """Return the tests of every pair of rows in every column of `METRICS`, see `Comparison.tests`.

    Args:
        names: names of the rows.
        values: column to `(rows, subjects)`.
    """
    rows = [
        {
            "metric": title,
            "first": names[i],
            "second": names[j],
            "difference": float(np.nanmean(found[i]) - np.nanmean(found[j])),
            "p": paired_wilcoxon(found[i], found[j]),
        }
        for title, found in ((title, values[title]) for title, *_ in METRICS)
        if not np.isnan(found).all(axis=1).any()
        for i, j in combinations(range(len(names)), 2)
    ]
    columns = ["metric", "first", "second", "difference", "p"]
    table = pd.DataFrame(rows, columns=columns)
    table["p_holm"] = holm(table.p.tolist())
    return table


def is_best(found: np.ndarray, i: int, names: list[str], tests: pd.DataFrame, title: str) -> bool:
    """Return whether row `i` is the best of a column and differs from every other row.

    Args:
        found: `(rows, subjects)`.
        i: the row.
        names: names of the rows.
        tests: result of `paired_tests`.
        title: title of the column.
    """
    metric = next(name for heading, _, name in (*METRICS, *DESCRIBED) if heading == title)
    sign = BY_NAME[metric].direction
    means = [sign * np.nanmean(row) if not np.isnan(row).all() else -np.inf for row in found]
    mine = tests[
        (tests.metric == title) & ((tests["first"] == names[i]) | (tests["second"] == names[i]))
    ]
    return (
        i == int(np.argmax(means))
        and len(mine) == len(names) - 1 > 0
        and bool((mine.p_holm < SIGNIFICANT).all())
    )


def require_same(
    first: RunFolder, other: RunFolder, facts: Mapping[str, tuple[Any, Any]], remedy: str
) -> None:
    """Refuse two runs that differ in a fact.

    Args:
        first: run.
        other: run.
        facts: name of a fact to its value in the first run and in the other.
        remedy: end of the message.

    Raises:
        InputError: a fact differs.
    """
    for key, (mine, its) in facts.items():
        if mine != its:
            raise InputError(
                f"{other.path}: its {key} is {its}, that of {first.path} is {mine}; {remedy}"
            )


def _names(methods: list[str], folders: list[str]) -> list[str]:
    """Return the methods, with their folder where several runs share one."""
    return [
        method if methods.count(method) == 1 else f"{method} ({folder})"
        for method, folder in zip(methods, folders, strict=True)
    ]


def _cell(found: np.ndarray, i: int, names: list[str], tests: pd.DataFrame, title: str) -> str:
    summary = summarise(found[i])
    if summary.n == 0:
        return "–"
    star = " *" if is_best(found, i, names, tests, title) else ""
    spread = f" ± {summary.std:.3f}" if summary.n > 1 else ""
    interval = f" [{summary.ci_low:.3f}, {summary.ci_high:.3f}]"
    defined = f" (n = {summary.n})" if summary.undefined else ""
    return f"{summary.mean:.3f}{spread}{interval}{defined}{star}"


def _latex(comparison: Comparison, note: str) -> str:
    def escape(text: str) -> str:
        special = {c: f"\\{c}" for c in "_%&#${}"} | {c: rf"\char`\{c}{{}}" for c in "\\~^"}
        special |= {"±": r"$\pm$", "⌈": r"$\lceil$", "⌉": r"$\rceil$", "–": "--"}
        return "".join(special.get(c, c) for c in one_line(text))

    lines = [r"\begin{tabular}{l" + "r" * (len(comparison.header) - 1) + "}", r"\toprule"]
    lines.append(" & ".join(map(escape, comparison.header)) + r" \\ \midrule")
    lines += [" & ".join(map(escape, row)) + r" \\" for row in comparison.rows]
    lines += [r"\bottomrule", r"\end{tabular}", f"% {note}"]
    return "\n".join(lines) + "\n"

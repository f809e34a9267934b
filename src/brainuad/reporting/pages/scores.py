"""Parts of the report on scores: the headline numbers, the tables and the curves."""

from dataclasses import dataclass, replace

from brainuad.cohorts.names import POOLED
from brainuad.records.summary import Result
from brainuad.reporting.drawing import curves as figures
from brainuad.reporting.pages.render import Table
from brainuad.reporting.run_folder import CONTROL, RunFolder
from brainuad.reporting.tables import (
    COMPANIONS,
    DICE_BY_THRESHOLD,
    FPR_BY_THRESHOLD,
    SUBJECTS,
    Column,
    columns_of,
    group_rows,
    summary_rows,
    untold_note,
)

_BY_GROUP = (
    ("AP by group of subjects", "none", "auprc"),
    ("Dice at the healthy threshold by group of subjects", "healthy", "dice"),
)
_HEADLINES = (
    ("Dice", "dice", "healthy", ("all",), "at the healthy threshold: the headline"),
    ("AP", "auprc", "none", ("all",), "average precision, no threshold"),
    ("⌈Dice⌉", "dice", "oracle", ("all",), "oracle: threshold chosen on test labels"),
    ("Healthy FPR", "fpr_healthy", "healthy", ("healthy", "all"), "false positives, healthy scans"),
)


@dataclass(frozen=True)
class Headline:
    """One of the numbers at the top of the report.

    Attributes:
        title: name of the score.
        note: its threshold.
        own: score of the run's method.
        control: score of the control beside it; None where there is none.
    """

    title: str
    note: str
    own: Result
    control: Result | None


@dataclass(frozen=True)
class Scores:
    """Tables of scores.

    Attributes:
        tables: one after the other.
        note: meaning of a dash in the first one; may be empty.
    """

    tables: list[Table]
    note: str


@dataclass(frozen=True)
class Curves:
    """Curves of the test subjects, as SVG.

    Attributes:
        pooled: precision against recall; None where the curves are missing.
        share: lesions' share of the brain; None where it is not known.
        strips: scores subject by subject.
    """

    pooled: str | None
    share: float | None
    strips: list[str]


def headlines(run: RunFolder) -> list[Headline]:
    """Return the scores of the run's method that are known."""
    found = []
    for title, metric, threshold, groups, note in _HEADLINES:
        own = run.result(run.method, metric, threshold, groups)
        control = None
        if run.method != CONTROL:
            control = run.result(CONTROL, metric, threshold, groups)
        if own is not None:
            found.append(Headline(title, note, own, control))
    return found


def scores(run: RunFolder) -> Scores:
    """Return the tables of scores; none where the run was not evaluated."""
    results, space = run.summary.results, run.summary.space
    caption = "Test subjects, mean ± standard deviation, below it the 95 % interval"
    caption += f" ({space} space)" if space else ""
    sets: tuple[tuple[tuple[Column, ...], str], ...] = (
        (columns_of(space), caption),
        (DICE_BY_THRESHOLD, "Dice by threshold"),
        (FPR_BY_THRESHOLD, _rate_caption(run)),
        (COMPANIONS, "Lesions and surfaces, at the healthy threshold"),
        (SUBJECTS, "Subjects as a whole, by their anomaly score"),
    )
    tables = [Table(*summary_rows(results, columns=columns), words) for columns, words in sets]
    # Healthy subjects have no lesion to find: a row of their own, the false positives.
    lesions = [row for row in results if row.group != "healthy"]
    for title, threshold, metric in _BY_GROUP:
        header, rows = group_rows(lesions, threshold, metric)
        found = [run.result(run.method, metric, threshold, (name,)) for name in header]
        named = zip(header, found, strict=True)
        header = [f"{name}, n = {row.n}" if row else name for name, row in named]
        tables.append(Table(header, rows, title))
    shown = [replace(_filled(table), own=run.method) for table in tables]
    return Scores([table for table in shown if len(table.header) > 1], untold_note(results))


def curves(run: RunFolder, share: float | None = None) -> Curves:
    """Return precision against recall, and the scores subject by subject.

    Args:
        run: the run.
        share: lesions' share of the brain; None where it is not known.
    """
    found = run.curves()
    scored = {
        "AP": _by_pathology(run, "auprc", "none"),
        "Dice at the healthy threshold": _by_pathology(run, "dice", "healthy"),
    }
    return Curves(
        figures.precision_recall(found, share) if found else None,
        share,
        [figures.strips(title, v, (-0.02, 1.02)) for title, v in scored.items() if v],
    )


def _rate_caption(run: RunFolder) -> str:
    """Return the caption of the table of false positives by threshold."""
    alpha = run.summary.alpha
    aim = "" if alpha is None else f" (healthy and scan aim at {alpha:.3g} or less)"
    return f"Share of healthy test brains that is marked, by threshold{aim}"


def _filled(table: Table) -> Table:
    """Return the table without the columns that have no value."""
    kept = [
        i for i in range(len(table.header)) if i == 0 or any(row[i] != "–" for row in table.rows)
    ]
    rows = [[row[i] for i in kept] for row in table.rows]
    return replace(table, header=[table.header[i] for i in kept], rows=rows)


def _by_pathology(run: RunFolder, metric: str, threshold: str) -> dict[str, dict[str, list[float]]]:
    """Return method to pathology to values; a subject without AP has no lesion."""
    sick = {s.subject for s in run.scores if s.metric == "auprc" and s.value == s.value}
    values: dict[str, dict[str, list[float]]] = {}
    for method in run.shown_methods:
        for score in run.scores:
            wanted = (score.method, score.metric, score.threshold) == (method, metric, threshold)
            if wanted and score.subject in sick - {POOLED} and score.value == score.value:
                by_group = values.setdefault(method, {})
                by_group.setdefault(score.pathology or "lesion", []).append(score.value)
    return values

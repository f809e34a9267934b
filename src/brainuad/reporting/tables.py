"""Tables of scores, made from the means of an evaluation."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from brainuad.machine.text import markdown, visible
from brainuad.metrics.registry import BY_NAME
from brainuad.records.summary import Result

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table


class Column(NamedTuple):
    """A column of a table of scores.

    Attributes:
        title: its heading.
        group: group of subjects.
        threshold: variant of the threshold.
        metric: name of the metric.
        short: the title where 80 columns must do.
    """

    title: str
    group: str
    threshold: str
    metric: str
    short: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """Group, threshold and metric."""
        return self.group, self.threshold, self.metric


LABEL_FREE = ("healthy", "scan", "fixed", "mebin", "otsu", "labelled_val")
"""Variants of the threshold that use no label of a test subject."""

SHOWN = (
    Column("AP", "all", "none", "auprc", "AP"),
    Column("Dice, healthy threshold", "all", "healthy", "dice", "Dice"),
    Column("Dice, Otsu", "all", "otsu", "dice", "Otsu"),
    Column("⌈Dice⌉, oracle", "all", "oracle", "dice", "⌈Dice⌉"),
    Column("⌈⌈Dice⌉⌉, per subject", "all", "oracle_subject", "dice", "⌈⌈Dice⌉⌉"),
    Column("AUROC", "all", "none", "auroc", "AUROC"),
    Column("healthy FPR", "healthy", "healthy", "fpr_healthy", "FPR"),
)
"""Columns of the table of volumes."""

COMPANIONS = tuple(
    Column(BY_NAME[name].title, group, threshold, name)
    for group, threshold, name in (
        ("all", "healthy", "lesion_sensitivity"),
        ("all", "healthy", "lesion_precision"),
        ("all", "healthy", "lesion_f1"),
        ("all", "healthy", "fp_per_volume"),
        ("all", "healthy", "hd95_mm"),
        ("all", "healthy", "assd_mm"),
        ("all", "none", "pro"),
    )
)
"""Columns of the report's table of lesions and surfaces."""

SUBJECTS = tuple(
    Column(BY_NAME[name].title, "pooled", "none", name)
    for name in ("subject_auroc", "severity_rho", "severity_c_index")
)
"""Columns of the report's table of whole subjects."""

DICE_BY_THRESHOLD = tuple(Column(name, "all", name, "dice") for name in LABEL_FREE)
"""Dice at every threshold that needs no label of a test subject."""

FPR_BY_THRESHOLD = tuple(Column(name, "healthy", name, "fpr_healthy") for name in LABEL_FREE)
"""Share of healthy test brains that is marked at the same thresholds."""

SLICES = (
    Column("slice Dice, best of 201", "pooled", "oracle_201", "dice_slice", "⌈slice Dice⌉"),
    Column("slice Dice, one threshold", "pooled", "oracle", "dice_slice", "⌈slice⌉"),
    Column("slice Dice, each its own", "pooled", "oracle_subject", "dice_slice", "⌈⌈slice⌉⌉"),
    Column("Dice, best of 200 quantiles", "pooled", "oracle_200", "dice_pooled", "of 200"),
    Column("Dice, five folds", "pooled", "folds", "dice_pooled", "5 folds"),
    Column("⌈Dice⌉, all pixels", "pooled", "oracle", "dice_pooled", "⌈Dice⌉"),
    Column("AP, all pixels", "pooled", "none", "auprc_pooled", "AP"),
    Column("AUROC, all pixels", "pooled", "none", "auroc_pooled", "AUROC"),
    Column("PRO, all pixels", "pooled", "none", "pro_pooled", "PRO"),
    Column("slice AUROC", "pooled", "none", "slice_auroc", "img AUC"),
    Column("slices", "pooled", "none", "slices", "slices"),
)
"""Columns of the slice protocol, never in one table with those of volumes."""


def columns_of(space: str) -> tuple[Column, ...]:
    """Return the columns that fit scores of a space."""
    return SLICES if space.startswith("slice:") else SHOWN


def summary_rows(
    results: Sequence[Result],
    spread: bool = True,
    columns: Sequence[Column] = SHOWN,
) -> tuple[list[str], list[list[str]]]:
    """Return header and rows, one per method: mean ± standard deviation [95 % interval].

    Args:
        results: means of an evaluation.
        spread: show standard deviation and interval, not the mean alone.
        columns: columns of the table.
    """
    found = {(r.method, *r.key): r for r in results}
    methods = list(dict.fromkeys(r.method for r in results))
    header = ["method", *(column.title for column in columns)]
    return header, [
        [
            method,
            *(
                _cell(found.get((method, *column.key)), spread, spread)
                + _count(found, methods, method, column.key)
                for column in columns
            ),
        ]
        for method in methods
    ]


def _count(
    found: dict[tuple[str, str, str, str], Result],
    methods: list[str],
    method: str,
    key: tuple[str, str, str],
) -> str:
    """Return the number of subjects behind a mean where the methods of a column differ in it."""
    rows = {m: found[(m, *key)] for m in methods if (m, *key) in found}
    # NaN by the metric's own rule (no finding, no surface) is no difference of subjects.
    counts = {m: row.n + row.undefined for m, row in rows.items()}
    return f" (n = {counts[method]})" if method in counts and len(set(counts.values())) > 1 else ""


def untold(results: Sequence[Result]) -> list[str]:
    """Return the methods whose healthy scores give no threshold, so that its scores are NaN."""
    rows = [r for r in results if (r.threshold, r.metric) == ("healthy", "dice")]
    defined = {r.method for r in rows if r.n}
    return [m for m in dict.fromkeys(r.method for r in rows) if m not in defined]


def untold_note(results: Sequence[Result]) -> str:
    """Return the meaning of a – in a column of a healthy threshold; empty where there is none."""
    names = untold(results)
    if not names:
        return ""
    return (
        f"– at the healthy threshold of {', '.join(names)}: (nearly) all scores of healthy "
        "validation brains are equal, so they give no threshold."
    )


def group_rows(
    results: Sequence[Result], threshold: str, metric: str
) -> tuple[list[str], list[list[str]]]:
    """Return one metric in every group of subjects: header and rows, one per method."""
    part = [r for r in results if (r.threshold, r.metric) == (threshold, metric)]
    groups = list(dict.fromkeys(r.group for r in part))
    methods = list(dict.fromkeys(r.method for r in part))
    found = {(r.method, r.group): r for r in part}
    return ["method", *groups], [
        [method, *(_cell(found.get((method, group)), spread=True) for group in groups)]
        for method in methods
    ]


def summary_table(results: Sequence[Result], space: str = "") -> "Table":
    """Return the table of means for a terminal of 80 columns, without empty columns."""
    columns = columns_of(space)
    header, rows = summary_rows(results, spread=False, columns=columns)
    short = ["method", *(column.short for column in columns)]
    kept = [i for i in range(len(header)) if i == 0 or any(row[i] != "–" for row in rows)]
    slices = space.startswith("slice:")
    note = "every Dice used the test labels"
    if not slices:
        note = "Dice and FPR at the healthy threshold; ⌈Dice⌉ used the test labels"
        note = "\n".join(filter(None, [note, untold_note(results)]))
    title = space if slices else "means over test subjects"
    cells = [[row[i] for i in kept] for row in rows]
    return _terminal(title, note, [short[i] for i in kept], cells, no_wrap=True)


def flatter_table(rows: "pd.DataFrame") -> "Table":
    """Return the table for the terminal of each benchmark rule's effect."""
    methods = list(dict.fromkeys(rows.method))
    lines = []
    for (metric, rule), part in rows.groupby(["metric", "rule"], sort=False):
        found = {row.method: row for row in part.itertuples()}
        above = "" if part.against.iloc[0] in ("", "ours") else "+ "
        cells = [_flatter_cell(found.get(method)) for method in methods]
        lines.append([metric, f"{above}{rule}", *cells])
    note = "in brackets: what a rule adds to ours; with a +, what it adds to the row above"
    title = "the same maps, one rule switched at a time"
    return _terminal(title, note, ["metric", "rule", *methods], lines)


def _terminal(
    title: str,
    caption: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    no_wrap: bool = False,
) -> "Table":
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    # As text: rich would read `[x]` as markup.
    said = Text(visible(caption, "\n"), "table.caption")
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), title=Text(title, "table.title"), caption=said)
    for name in header:
        table.add_column(Text(visible(name, "")), no_wrap=no_wrap)
    for row in rows:
        table.add_row(*(Text(visible(cell, "")) for cell in row))
    return table


def _flatter_cell(row: Any) -> str:
    if row is None or row.value != row.value:
        return "–"
    return f"{row.value:.3f}" + (
        f" ({row.difference:+.3f})" if row.difference == row.difference else ""
    )


def to_markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    named = [[markdown(row[0]), *row[1:]] for row in rows]
    lines = [header, ["---"] * len(header), *named]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cell(row: Result | None, spread: bool, interval: bool = False) -> str:
    if row is None or not row.has_mean:
        return "–"
    text = f"{row.mean:.3f}"
    if spread and row.std is not None and not math.isnan(row.std):
        text += f" ± {row.std:.3f}"
        if interval:
            text += f" [{row.ci_low:.3f}, {row.ci_high:.3f}]"
    return text

"""Tables of a benchmark: `results.md` and `.csv`, `costs.md` and `.csv`, `runs.json`.

Repeated runs on the same machine give the same bytes. Times differ between repetitions, so they
have files of their own.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from brainuad.benchmark import difficulty
from brainuad.benchmark.scores import (
    BEATS,
    BELOW,
    ORACLE,
    POOLED,
    PROMISED,
    SAME,
    SHOWN,
    TESTED,
    TOO_FEW,
    VARIANTS,
    Found,
    costs,
    provenance,
)
from brainuad.machine.files import write_json, write_text
from brainuad.machine.text import csv_text
from brainuad.reporting.comparison.runs import SIGNIFICANT
from brainuad.reporting.tables import to_markdown

MARKED = {"fpr": "healthy FPR", "fpr_scan": "healthy FPR, scan"}
"""The columns of `Found.healthy` in words."""

NOTE = f"""# Results

Written by `{{command}}`; do not edit. Mean over subjects with a lesion
[95 % bootstrap interval over subjects]; ± is the standard deviation over seeds, where there are
several. **Dice** is at the healthy threshold, which no lesion label was used for: the headline.
**⌈Dice⌉** is at the best threshold for the test subjects, and the **optimism gap** is the
difference: what a number loses that was reported with a threshold chosen on the test labels. It can
be below 0, because ⌈Dice⌉ is of the map alone and Dice has specks removed. Other thresholds that no
label was used for are `scan`, of the score relative to the scan's own, `fixed`, the method's own
value, and `MEBin` (docs/explanation/protocol.md). **Healthy FPR** is the share of new healthy
brains that is marked, where 1 % is expected.

Every method is tested against the baseline `{{baseline}}`, subject by subject (paired Wilcoxon
signed-rank test, two-sided, Holm-corrected over the methods): it **{BEATS}** it or is **{BELOW}**
it at p < {SIGNIFICANT}, or is **{SAME}**; **{TOO_FEW}** means that with so few subjects no
outcome could be significant after the correction (in the tables by group, `p ≥` is the least that
n allows). `{ORACLE}` is given the lesion-free image where there is one: what a perfect
reconstruction would score; it is not tested.
"""


def write_tables(
    found: Found,
    table: pd.DataFrame,
    settings: dict[str, Any],
    out: Path,
    command: str,
    section: str = "",
) -> None:
    """Write all tables into a folder.

    Args:
        found: scores of one finished run at least.
        table: statistics, from `scores.results`.
        settings: settings of the benchmark.
        out: folder of the tables.
        command: words that started the benchmark, which the tables name.
        section: further Markdown, before the cohorts.
    """
    baseline = settings["baseline"]
    text = NOTE.format(baseline=baseline, command=command)
    if found.missing:
        text += f"\nNot finished, and so not in here: {', '.join(found.missing)}.\n"
    text += _failing(table, baseline)
    text += section
    for cohort, part in table.groupby("cohort", sort=False):
        text += f"\n## {settings['cohorts'][cohort]['title']}\n"
        for sequence, own in part.groupby("sequence", sort=False):
            text += f"\n### {cohort}, {sequence}\n\n"
            if sequence == POOLED:
                text += "A subject counts once, with the mean over the sequences in which its "
                text += "lesion belongs to the group.\n\n"
            else:
                healthy = found.healthy
                here = (healthy.cohort == cohort) & (healthy.sequence == sequence)
                text += _headline(own, healthy[here], baseline) + "\n"
            text += "".join(_by_group(own, metric, baseline) for metric in TESTED)
    write_text(out / "results.md", text)
    write_results(out / "results.csv", table)
    spent = costs(found.runs)
    write_results(out / "costs.csv", spent)
    write_text(out / "costs.md", _costs(spent, command))
    write_json(out / "runs.json", provenance(found.runs))
    grid = difficulty.joined(found.runs)
    if not grid.empty:
        write_results(out / difficulty.TABLE, grid)


def write_results(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, its numbers with four significant digits."""
    write_text(path, csv_text(table, float_format="%.4g"))


def _failing(table: pd.DataFrame, baseline: str) -> str:
    """Return the methods by verdict, for each cohort and sequence."""
    part = table[(table.group == "all") & table.metric.isin(TESTED) & table.verdict.notna()]
    text = f"\n## Who does not beat `{baseline}`\n\nOver all lesions.\n\n"
    rows = []
    for (cohort, sequence, metric), own in part.groupby(
        ["cohort", "sequence", "metric"], sort=False
    ):
        cells = [
            ", ".join(own[own.verdict == word].method) or "–"
            for word in (BEATS, SAME, BELOW, TOO_FEW)
        ]
        rows.append([cohort, sequence, metric, *cells])
    header = ["cohort", "sequence", "by", BEATS, SAME, BELOW, TOO_FEW]
    kept = [i for i in range(len(header)) if i != len(header) - 1 or any(r[i] != "–" for r in rows)]
    return text + to_markdown([header[i] for i in kept], [[r[i] for i in kept] for r in rows])


def _headline(part: pd.DataFrame, healthy: pd.DataFrame, baseline: str) -> str:
    """Return the table of all lesions: metrics, verdicts, and healthy test subjects."""
    whole = part[part.group == "all"]
    count = int(whole.n.max())
    methods = list(dict.fromkeys(whole.method))
    against = [f"{metric} against {baseline}" for metric in TESTED]
    variants = [name for name in VARIANTS.values() if name in set(whole.metric)]
    header = [f"method (n = {count})", *SHOWN[:-1], "optimism gap", *against, *variants]
    marked = healthy.groupby("method")[list(PROMISED.values())].mean()
    marked = marked.dropna(axis="columns", how="all")
    header += [MARKED[column] for column in marked]
    rows = []
    for method in methods:
        own = whole[whole.method == method].set_index("metric")
        cells = [_mean(own.loc[metric], count) for metric in SHOWN]
        cells += [_verdict(own.loc[metric]) for metric in TESTED]
        cells += [_mean(own.loc[metric], count) for metric in variants]
        known = marked.reindex([method]).iloc[0]
        cells += ["–" if pd.isna(share) else f"{share:.4f}" for share in known]
        rows.append([method, *cells])
    return to_markdown(header, rows)


def _by_group(part: pd.DataFrame, metric: str, baseline: str) -> str:
    """Return the table by group of lesions, one column per group."""
    own = part[part.metric == metric]
    groups = list(dict.fromkeys(own.group))
    methods = list(dict.fromkeys(own.method))
    if len(groups) < 2:
        return ""
    header = [f"{metric} by group, verdict against {baseline}"]
    for group in groups:
        here = own[own.group == group]
        least = here.p_least.min() if "p_least" in here else float("nan")
        words = f", p ≥ {least:.2g}" if least > 0.001 else ""
        header.append(f"{group} (n = {int(here.n.max())}{words})")
    rows = []
    for method in methods:
        cells = []
        for group in groups:
            found = own[(own.method == method) & (own.group == group)]
            if found.empty:
                cells.append("–")
                continue
            row = found.iloc[0]
            word = row.get("verdict")
            cells.append(_mean(row) + (f"; {word}" if isinstance(word, str) else ""))
        rows.append([method, *cells])
    return "\n" + to_markdown(header, rows)


def _mean(row: pd.Series, count: int | None = None) -> str:
    if row["mean"] != row["mean"]:
        return "–"
    spread = f" ± {row.seeds_sd:.3f}" if row.seeds_sd == row.seeds_sd else ""
    fewer = f" (n = {int(row.n)})" if count is not None and row.n != count else ""
    return f"{row['mean']:.3f}{spread} [{row.low:.3f}, {row.high:.3f}]{fewer}"


def _verdict(row: pd.Series) -> str:
    if not isinstance(row.get("verdict"), str):
        return "–"
    return f"{row.verdict} ({row.difference:+.3f}, p = {row.p_holm:.2g})"


def _costs(spent: pd.DataFrame, command: str) -> str:
    """Return one row per method, cohort and sequence, with means over seeds."""
    text = f"# What it costs\n\nWritten by `{command}` from what the runs "
    text += "recorded; do not edit. Means over the seeds. Seconds of training are those of the "
    text += "last start of a run: less than all where it was interrupted, and with the making of "
    text += "cohort, tissue maps and first stage where the run was the first to need them. Memory "
    text += "is the most that the process held, on its GPU where it used one.\n\n"
    rows = []
    for (cohort, sequence, method), own in spent.groupby(
        ["cohort", "sequence", "method"], sort=False
    ):
        first = own.iloc[0]
        numbers = [
            _number(own.epochs, ".0f"),
            _number(own.parameters, ",.0f"),
            _number(own.training_s, ",.0f"),
            _number(own.volume_s, ".2f"),
            _number(own.peak_memory_mib, ",.0f"),
        ]
        machine = f"{first.device}, {first.threads} threads" if first.device == "cpu" else None
        machine = str(machine or first.device or "–")
        rows.append([cohort, sequence, method, first.experiment, str(len(own)), *numbers, machine])
    header = ["cohort", "sequence", "method", "experiment", "seeds", "epochs", "parameters"]
    header += ["training, s", "volume, s", "peak memory, MiB", "device"]
    return text + to_markdown(header, rows)


def _number(values: pd.Series, style: str) -> str:
    known = pd.to_numeric(values).dropna()
    return f"{known.mean():{style}}" if len(known) else "–"

"""Scores by kind of lesion and by contrast."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from brainuad.evaluation.results import ISO_CONTRAST
from brainuad.metrics.statistics import holm, paired_wilcoxon
from brainuad.reporting.tables import to_markdown

THIRD = "iso third of tumours"
"""Group name: the third of the tumours with the least contrast to the lesion-free counterpart."""

GROUPS = ("all", "tumour", THIRD, "ms", "stroke", "bright", "iso", "dark")
METRICS = {("none", "auprc"): "AP", ("healthy", "dice"): "Dice", ("oracle", "dice"): "⌈Dice⌉"}


def read_subjects(folder: Path, method: str | None = None) -> pd.DataFrame:
    """Read the scores of the pathological subjects of a run folder.

    Args:
        folder: run folder.
        method: name of a method; None for all, with the controls.
    """
    scores = pd.read_csv(folder / "scores.csv")
    key = list(zip(scores.threshold, scores.metric, strict=True))
    scores = scores.assign(metric=[METRICS.get(k) for k in key])
    sick = scores[scores.metric.notna() & scores.pathology.notna() & (scores.pathology != "")]
    return sick if method is None else sick[sick.method == method]


def members(sick: pd.DataFrame) -> dict[str, pd.Series]:
    """Return a mask of rows for each group.

    Args:
        sick: scores of one sequence. Lesions without a contrast, as real ones, are in none of the
            groups by contrast.
    """
    tumours = sick[sick.pathology == "tumour"].groupby("subject").contrast.first().abs()
    third = tumours.nsmallest(math.ceil(len(tumours) / 3)).index
    groups = {"all": sick.subject.notna(), THIRD: sick.subject.isin(third)}
    kinds = dict.fromkeys(["tumour", "ms", "stroke", *sorted(sick.pathology.unique())])
    groups |= {name: sick.pathology == name for name in kinds}
    groups["bright"] = sick.contrast > ISO_CONTRAST
    groups["dark"] = sick.contrast < -ISO_CONTRAST
    groups["iso"] = sick.contrast.abs() <= ISO_CONTRAST
    return groups


def group_means(sick: pd.DataFrame) -> pd.DataFrame:
    """Return mean and count for each method, metric and group."""
    rows = []
    for group, member in members(sick).items():
        for (name, metric), part in sick[member].groupby(["method", "metric"], sort=False):
            row = {"method": name, "group": group, "n": len(part), "metric": metric}
            rows.append(row | {"mean": part.value.mean()})
    return pd.DataFrame(rows)


def to_table(table: pd.DataFrame) -> str:
    """Return a table by group as Markdown: mean ± standard deviation over seeds."""
    groups = [group for group in GROUPS if group in set(table.group)]
    counts = table.groupby("group").n.first()
    header = ["metric", "method", *(f"{group} (n={counts[group]})" for group in groups)]
    rows = []
    for metric in METRICS.values():
        for method in table.method.unique():
            part = table[(table.metric == metric) & (table.method == method)]
            cells = []
            for group in groups:
                values = part[part.group == group]["mean"].to_numpy(float)
                spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
                cells.append(f"{np.mean(values):.3f}{spread}" if len(values) else "-")
            rows.append([metric, method, *cells])
    return to_markdown(header, rows)


def paired_tests(part: pd.DataFrame, method: str, others: Sequence[str]) -> str:
    """Return the AP of a method against others, paired by subject and Holm-corrected, as Markdown.

    A subject's value is the mean over the seeds that both methods have.
    """
    ap = part[part.metric == "AP"]
    differences = {}
    for other in others:
        seeds = set(ap[ap.method == other].seed)
        both = ap[ap.seed.isin(seeds)].groupby(["method", "subject"]).value.mean()
        if seeds:
            differences[other] = both[method] - both[other]
    ps = holm([paired_wilcoxon(d.to_numpy(), 0 * d.to_numpy()) for d in differences.values()])
    rows = [
        [other, f"{difference.mean():+.3f}", f"{p:.2g}"]
        for (other, difference), p in zip(differences.items(), ps, strict=True)
    ]
    return to_markdown([f"AP of {method} against", "difference", "p (Wilcoxon, Holm)"], rows)

"""The tables of `python -m experiments.universal.synthetic`."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from brainuad.machine.files import write_text
from brainuad.machine.text import csv_text
from brainuad.metrics.statistics import by_person, paired_wilcoxon, summarise
from brainuad.reporting.tables import to_markdown

HEAD = "lesion head"
SIZES = {
    "below 1 ml": (0.0, 1.0),
    "1 to 5 ml": (1.0, 5.0),
    "5 to 20 ml": (5.0, 20.0),
    "20 ml and more": (20.0, np.inf),
}
PARTS = {
    "without mirror": "without the mirror image (the scan stands in its place)",
    "without priors": "without the tissue priors (zeros)",
    "off the atlas": "without priors, relative to the brain's median",
    "painted ellipsoids": "other lesions: ellipsoids on the sequence's side",
    "painted mixture": "other lesions: bright, dark, wrong texture, pushed tissue",
}
NOTE = """# Results

Written by `python -m experiments.universal.synthetic`; do not edit. The shipped models on synthetic
scans of heads that training never saw: two for the validation, two for the test. **AP** and **Dice
at 0.5** are means over scans with a lesion. In brackets is the 95 % bootstrap interval over the
synthetic people, of whom each has a scan with multiple sclerosis, one with hyperintensities, one
with a stroke and one with a tumour. The people share two heads, so the intervals tell nothing of
other heads. Other lesions are painted into scans of further people. p is of the Wilcoxon test over
people. Nothing was trained for this study: a part that is left out is left out at detection.
"""


def write_tables(table: pd.DataFrame, out: Path) -> None:
    """Write `synthetic.csv` and `synthetic.md`.

    Args:
        table: a row per scan and way of scoring.
        out: folder.
    """
    test = table[table.split == "test"]
    own = test[(test.model == test.sequence) & (test.disease != "none")]
    val = table[(table.split == "val") & (table.model == table.sequence)]
    parts = [
        NOTE,
        "## Fusions, on the validation\n",
        _candidates(val),
        "## The parts, on the test\n",
        _parts(test, own, choices(val)),
        "## By the lesion volume of the scan\n",
        _by_size(own[own.score == HEAD]),
        "## By disease\n",
        _by_disease(own[own.score == HEAD]),
        "## Scans without a lesion\n",
        _healthy(test),
        "## PD\n",
        _untrained(table),
    ]
    write_text(out / "synthetic.md", "\n".join(parts))
    write_text(out / "synthetic.csv", csv_text(table, float_format="%.4g"))


def choices(val: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Return the residual and the fusion of each sequence that are best on the validation.

    The residual by its Dice, because its AP is the same for all; the fusion by its AP.
    """
    found = {}
    for sequence, rows in val.groupby("sequence", sort=False):
        mean = rows.groupby("score")[["ap", "dice"]].mean()
        residuals = mean[mean.index.str.startswith("residual")]
        fusions = mean[mean.index.str.contains("mean|product")]
        found[str(sequence)] = str(residuals.dice.idxmax()), str(fusions.ap.idxmax())
    return found


def _candidates(val: pd.DataFrame) -> str:
    """Every way of scoring on the validation."""
    mean = val.groupby(["score", "sequence"])[["ap", "dice"]].mean()
    rows = [
        [score, *(_pair(mean, (score, sequence)) for sequence in _sequences(val))]
        for score in sorted(val.score.unique())
    ]
    note = (
        "The number is the residual, as a share of white matter, that becomes 0.5. A product is "
        "the geometric mean, a light mean has 0.8 of the lesion head."
    )
    return f"{note}\n\n{_table(['AP, Dice', *_sequences(val)], rows)}"


def _parts(test: pd.DataFrame, own: pd.DataFrame, chosen: dict[str, tuple[str, str]]) -> str:
    """The lesion head, what was chosen, and what is left out."""
    rows = []
    names = {HEAD: f"{HEAD}, as shipped", "0": "residual", "1": "fusion", **PARTS}
    for key, words in names.items():
        cells = []
        for sequence in chosen:
            score = chosen[sequence][int(key)] if key in ("0", "1") else key
            found = _of(test, sequence, score)
            found = found[found.lesion_ml > 0]
            cell = f"{_interval(found, 'ap')}, {_interval(found, 'dice')}"
            if key in ("0", "1"):
                cell += f" ({score})"
            if key != HEAD and not key.startswith("painted"):
                cell += f"; p = {_p(found, _of(own, sequence, HEAD)):.2g}"
            cells.append(cell)
        rows.append([words, *cells])
    note = "p compares the AP with that of the lesion head."
    people = own.groupby("sequence").person.nunique()
    columns = [f"{sequence} ({people[sequence]} people)" for sequence in chosen]
    return f"{note}\n\n{_table(['AP, Dice', *columns], rows)}"


def _by_size(head: pd.DataFrame) -> str:
    rows = []
    for words, (low, high) in SIZES.items():
        inside = head[(head.lesion_ml >= low) & (head.lesion_ml < high) & (head.lesion_ml > 0)]
        rows.append([words, *_cells(inside, _sequences(head))])
    return _table(["AP, Dice (scans)", *_sequences(head)], rows)


def _by_disease(head: pd.DataFrame) -> str:
    groups = head.groupby("disease", sort=False)
    rows = [[str(name), *_cells(rows, _sequences(head))] for name, rows in groups]
    return _table(["AP, Dice (scans)", *_sequences(head)], rows)


def _healthy(test: pd.DataFrame) -> str:
    """Return the volume marked in healthy scans, in ml."""
    clean = test[(test.disease == "none") & (test.score == HEAD)]
    rows = []
    for (sequence, model), found in clean.groupby(["sequence", "model"], sort=False):
        marked = found.marked_ml
        nothing = f"{(marked == 0).sum()} of {len(marked)}"
        sizes = f"{marked.median():.2f}", f"{marked.max():.2f}"
        rows.append([str(sequence), str(model), *sizes, nothing])
    return _table(["scans", "model", "median ml marked", "largest", "nothing marked"], rows)


def _untrained(table: pd.DataFrame) -> str:
    """Every model on the sequence that none was trained on."""
    foreign = table[(table.model != table.sequence) & (table.disease != "none")]
    rows = []
    for model, found in foreign.groupby("model", sort=False):
        cells = [
            f"{_interval(part, 'ap')}, {_interval(part, 'dice')} ({len(part)})"
            for part in (found[found.split == split] for split in ("val", "test"))
        ]
        rows.append([str(model), *cells])
    return _table(["model: AP, Dice (scans)", "validation", "test"], rows)


def _of(table: pd.DataFrame, sequence: str, score: str) -> pd.DataFrame:
    return table[(table.model == sequence) & (table.sequence == sequence) & (table.score == score)]


def _p(found: pd.DataFrame, head: pd.DataFrame) -> float:
    """Return p of the difference of AP to the lesion head, over people."""
    both = found.merge(head, on="scan", suffixes=("", "_head"))
    values = by_person(np.stack([both.ap, both.ap_head]), list(map(str, both.person)))
    return paired_wilcoxon(*values)


def _interval(found: pd.DataFrame, metric: str) -> str:
    """Mean over scans, and its interval over people."""
    values = by_person(found[metric].to_numpy(float), list(map(str, found.person)))
    summary = summarise(values)
    return f"{found[metric].mean():.3f} [{summary.ci_low:.3f}, {summary.ci_high:.3f}]"


def _cells(found: pd.DataFrame, sequences: Iterable[str]) -> list[str]:
    cells = []
    for sequence in sequences:
        rows = found[found.sequence == sequence]
        mean = rows[["ap", "dice"]].mean()
        cells.append(f"{mean.ap:.3f}, {mean.dice:.3f} ({len(rows)})" if len(rows) else "–")
    return cells


def _pair(mean: pd.DataFrame, key: tuple[str, str]) -> str:
    return "{:.3f}, {:.3f}".format(*mean.loc[key]) if key in mean.index else "–"


def _sequences(table: pd.DataFrame) -> list[str]:
    return [str(name) for name in table.sequence.unique()]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return to_markdown(columns, rows)

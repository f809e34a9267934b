import io

from rich.console import Console

from brainuad.records.summary import Result
from brainuad.reporting.tables import (
    DICE_BY_THRESHOLD,
    FPR_BY_THRESHOLD,
    LABEL_FREE,
    SHOWN,
    group_rows,
    summary_rows,
    summary_table,
    to_markdown,
    untold_note,
)


def _row(method, group, threshold, metric, mean, std=0.1):
    return Result(method, group, threshold, metric, 3, mean, std, mean - 0.05, mean + 0.05)


RESULTS = [
    _row("own", "all", "none", "auprc", 0.5),
    _row("own", "all", "healthy", "dice", 0.4, std=None),
    _row("own", "tumour", "none", "auprc", 0.7),
    _row("intensity", "all", "none", "auprc", float("nan")),
]


def test_rows_by_hand():
    header, rows = summary_rows(RESULTS)
    assert header[:3] == ["method", "AP", "Dice, healthy threshold"]
    assert rows[0][:3] == ["own", "0.500 ± 0.100 [0.450, 0.550]", "0.400"]
    assert rows[1][:3] == ["intensity", "–", "–"]
    assert summary_rows(RESULTS, spread=False)[1][0][1] == "0.500"


def test_groups_and_markdown():
    header, rows = group_rows(RESULTS, "none", "auprc")
    assert header == ["method", "all", "tumour"]
    text = to_markdown(header, rows)
    assert text.splitlines()[2] == "| own | 0.500 ± 0.100 | 0.700 ± 0.100 |"
    assert text.splitlines()[3] == "| intensity | – | – |"


def test_the_terminal_table_leaves_empty_columns_out():
    out = io.StringIO()
    Console(file=out, width=80).print(summary_table(RESULTS))
    assert "0.500" in out.getvalue()
    assert "AUROC" not in out.getvalue()


def test_the_whole_table_fits_eighty_columns():
    keys = [column.key for column in SHOWN]
    out = io.StringIO()
    rows = [_row("oracle_reconstruction", *key, 0.123456) for key in keys]
    Console(file=out, width=80).print(summary_table(rows))
    assert out.getvalue().count("0.123") == len(SHOWN)
    assert "…" not in out.getvalue()
    assert max(map(len, out.getvalue().splitlines())) <= 80


def test_a_method_without_a_healthy_threshold_is_named():
    nan = float("nan")
    none = Result("perfect", "all", "healthy", "dice", 0, nan, undefined=3)
    rows = [*RESULTS, none]
    assert untold_note(RESULTS) == ""
    assert untold_note(rows).startswith("– at the healthy threshold of perfect: ")
    _, cells = summary_rows(rows, spread=False)
    assert [row[2] for row in cells] == ["0.400", "–", "–"]
    out = io.StringIO()
    Console(file=out, width=80).print(summary_table(rows))
    # The caption is wrapped to the table's width.
    assert "threshold of perfect" in " ".join(out.getvalue().split())


def test_every_threshold_has_its_column():
    for columns in (DICE_BY_THRESHOLD, FPR_BY_THRESHOLD):
        rows = [_row("own", *column.key, 0.25) for column in columns]
        header, cells = summary_rows(rows, spread=False, columns=columns)
        assert header == ["method", *LABEL_FREE]
        assert cells == [["own", *["0.250"] * len(columns)]]

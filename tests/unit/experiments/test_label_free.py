"""The study of the label-free objective: its rank correlations against known answers."""

import numpy as np
import pandas as pd
import pytest
from tiny import ROOT


@pytest.fixture
def ranks(monkeypatch):
    """The module of the study; studies are no part of the package."""
    monkeypatch.syspath_prepend(ROOT)
    from experiments.label_free import ranks

    return ranks


def _table(objective, metric, runs):
    columns = {"run": runs, "method": ["a", "b"] * (len(runs) // 2), "sequence": "T2w"}
    return pd.DataFrame(columns | {"checkpoint": "model", "objective": objective, "AP": metric})


@pytest.mark.slow
def test_the_same_order_is_one_and_the_opposite_minus_one(ranks):
    values = np.linspace(0.1, 0.9, 8) ** 3
    runs = [f"run{i}" for i in range(8)]
    found = ranks.correlate(values, np.sqrt(values), runs)
    assert (found.spearman, found.kendall) == pytest.approx((1, 1))
    assert found.spearman_ci == pytest.approx((1, 1))
    assert found.chosen == found.best == np.sqrt(values).max()
    opposite = ranks.correlate(values, -values, runs)
    assert (opposite.spearman, opposite.kendall) == pytest.approx((-1, -1))
    assert opposite.chosen == (-values).min()


def test_one_exchange_of_neighbours_costs_what_the_formulas_say(ranks):
    objective = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    metric = np.array([1.0, 3.0, 2.0, 4.0, 5.0])
    found = ranks.correlate(objective, metric, list("abcde"))
    assert found.spearman == pytest.approx(1 - 6 * 2 / (5 * 24))
    assert found.kendall == pytest.approx((9 - 1) / 10)
    assert found.mean == 3
    low, high = found.kendall_ci
    assert low < found.kendall < high <= 1


@pytest.mark.slow
def test_whole_runs_are_drawn_where_there_are_enough(ranks):
    # Within each run the order is perfect; between runs there is none.
    rng = np.random.default_rng(0)
    level = np.repeat(rng.permutation(6), 5) + np.tile(np.linspace(0, 0.1, 5), 6)
    other = np.repeat(rng.permutation(6), 5) + np.tile(np.linspace(0, 0.1, 5), 6)
    runs = [f"run{i}" for i in range(6) for _ in range(5)]
    by_run = ranks.correlate(level, other, runs)
    alone = ranks.correlate(level, other, [f"run{i}" for i in range(30)])
    assert by_run.runs == 6
    assert np.ptp(by_run.spearman_ci) > 1.5 * np.ptp(alone.spearman_ci)


def test_few_or_equal_checkpoints_have_no_correlation(ranks):
    found = ranks.correlate(np.ones(4), np.arange(4.0), list("abcd"))
    assert np.isnan(found.spearman)
    assert np.isnan(found.spearman_ci).all()
    text = ranks.report(_table([0.1, 0.2], [0.3, 0.1], ["x", "y"]), ["objective"], ["AP"])
    assert text.count("too few") >= 4


@pytest.mark.slow
def test_the_report_has_each_method_and_all_of_them(ranks, tmp_path):
    rng = np.random.default_rng(1)
    values = rng.random(12)
    table = _table(values, values**2, [f"run{i // 2}" for i in range(12)])
    text = ranks.report(table, ["objective"], ["AP"])
    for name in ("a", "b", "all methods"):
        assert f"| T2w | {name} | objective |" in text
    assert "12 of 6 runs | +1.00 [+1.00, +1.00]" in text
    ranks.draw_scatter(table, ["objective"], ["AP"], tmp_path / "scatter.png")
    assert (tmp_path / "scatter.png").stat().st_size > 5000

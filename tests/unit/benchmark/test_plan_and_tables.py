"""The benchmark's plan, its statistics on known scores, and tables of the same bytes."""

import re
from dataclasses import replace

import pandas as pd
import pytest
import yaml
from benchmark_runs import a_benchmark, found_runs

from brainuad.benchmark.command import main
from brainuad.benchmark.plan import make_plan
from brainuad.benchmark.scores import (
    BEATS,
    BELOW,
    POOLED,
    SAME,
    TOO_FEW,
    pooled,
    read_runs,
    results,
    smallest_p,
)
from brainuad.benchmark.tables import write_tables
from brainuad.errors import InputError
from brainuad.metrics.statistics import holm, paired_wilcoxon


@pytest.fixture(scope="module")
def settings():
    """Return the settings."""
    return a_benchmark()


def test_the_plan_has_every_run_once_and_says_what_is_left_out(settings, monkeypatch):
    monkeypatch.delenv("BRAINUAD_REAL_DATA", raising=False)
    plan = make_plan(settings, "full", methods=["intensity", "good"], options=["a=9"])
    assert [run.name for run in plan.runs] == [
        *("embedded/intensity/T2w-0", "embedded/good/T2w-0", "embedded/good/T2w-1"),
        *("embedded/intensity/FLAIR-0", "embedded/good/FLAIR-0", "embedded/good/FLAIR-1"),
    ]
    assert plan.skipped["absent"].startswith("no/such/folder is not there")
    assert "BRAINUAD_REAL_DATA" in plan.skipped["real"]
    small = make_plan(settings, "small", methods=["good"], sequences=["T2w"], options=["a=9"])
    (run,) = small.runs
    words = [word for word in run.command(None) if word.startswith("a=")]
    # The size's, the cohort's, the method's there, the user's: the last one counts.
    assert words == ["a=1", "a=3", "a=4", "a=9"]
    assert {"ckpt=last", "controls=none", "name=good", "model.equalise=false"} <= set(
        run.command(None)
    )
    assert "paths.output_dir=runs/b/embedded/good/T2w-0" in run.command(None)
    with pytest.raises(InputError, match="no method nonsense; choose of intensity"):
        make_plan(settings, "small", methods=["nonsense"])


def test_a_published_model_is_scored_again_behind_the_common_chain(settings):
    sizes = {"full": settings["sizes"]["full"] | {"again": ["postprocess=default"]}}
    changed = settings | {"sizes": sizes}
    methods = changed["methods"] | {"plain": {"full": "dae_3d"}}
    plan = make_plan(changed | {"methods": methods}, "full", seeds=[0], sequences=["T2w"])
    runs = {run.method: run for run in plan.runs}
    assert {"good", "good_common", "plain"} <= set(runs)
    assert "plain_common" not in runs
    again = runs["good_common"]
    assert again.trained_as == runs["good"].out
    assert again.experiment == runs["good"].experiment == "madad_paper"
    assert "postprocess=default" in again.options
    assert "postprocess=default" not in runs["good"].options


def test_settings_that_cannot_be_used_are_refused_in_a_line(tmp_path, settings, capsys):
    path = tmp_path / "mine.yaml"
    assert main(["--settings", str(path)]) == 2
    path.write_text("methods: {intensity: {small: intensity}}\n")
    assert main(["--settings", str(path)]) == 2
    missing, lacking = capsys.readouterr().err.splitlines()
    assert "mine.yaml: not readable as settings" in missing
    assert "mine.yaml: has no baseline, sizes, cohorts" in lacking
    path.write_text(yaml.safe_dump(settings | {"methods": {"intensity": {"small": "intensity"}}}))
    assert main(["--settings", str(path), "--size", "full", "--list"]) == 2
    assert "method intensity has no experiment of size full" in capsys.readouterr().err


@pytest.fixture(scope="module")
def everything(settings, tmp_path_factory):
    """24 subjects, three seeds of what learns."""
    return found_runs(settings, tmp_path_factory.mktemp("runs"), seeds=(0, 1, 2))


@pytest.fixture(scope="module")
def table(everything):
    """Its statistics."""
    return results(everything, "intensity")


def _row(table, **wanted):
    for key, value in wanted.items():
        table = table[table[key] == value]
    return table.iloc[0]


@pytest.mark.slow
def test_verdicts_are_those_of_the_tests(everything, table):
    words = {"good": BEATS, "bad": BELOW, "like": SAME}
    scores = everything.table[everything.table.sequence == "T2w"]
    ap = scores.groupby(["subject", "method"]).AP.mean().unstack()
    ps = [paired_wilcoxon(ap[m].to_numpy(), ap["intensity"].to_numpy()) for m in words]
    for (method, word), p in zip(words.items(), holm(ps), strict=True):
        row = _row(table, sequence="T2w", group="all", method=method, metric="AP")
        assert row.verdict == word
        assert row.p_holm == pytest.approx(p)
        assert row.difference == pytest.approx((ap[method] - ap["intensity"]).mean())
        assert row.low < row["mean"] < row.high
    own = table[table.method == "intensity"]
    assert own.verdict.isna().all()
    gap = _row(table, sequence="T2w", group="all", method="good", metric="gap")
    assert gap["mean"] == pytest.approx(0.05)
    assert pd.isna(gap.verdict)


def test_a_subject_counts_once_in_the_pooled_group(table):
    row = _row(table, sequence=POOLED, group="iso", method="good", metric="AP")
    assert row.n == 12
    one = _row(table, sequence="T2w", group="iso", method="good", metric="AP")
    assert row["mean"] == pytest.approx(one["mean"])
    assert row.p == pytest.approx(one.p)


def test_seeds_are_a_spread_and_not_more_subjects(table):
    row = _row(table, sequence="T2w", group="all", method="good", metric="AP")
    assert (row.n, row.seeds) == (24, 3)
    assert row.seeds_sd == pytest.approx(0.001)
    assert _row(table, sequence="T2w", group="all", method="intensity", metric="AP").seeds == 1


@pytest.mark.slow
def test_too_few_subjects_tell_nothing_and_a_missing_run_is_named(settings, tmp_path):
    found_runs(settings, tmp_path / "runs", subjects=6)
    (tmp_path / "runs" / "embedded" / "bad" / "FLAIR-0" / "report.html").unlink()
    plan = make_plan(settings, "small", cohorts=["embedded"], folder=tmp_path / "runs")
    found = read_runs(plan.runs)
    assert found.missing == ("embedded/bad/FLAIR-0",)
    table = results(found, "intensity")
    row = _row(table, sequence="T2w", group="all", method="good", metric="AP")
    assert smallest_p(6) == 1 / 32
    # All six are better, but three methods are tested.
    assert (row.p, row.p_least, row.verdict) == (1 / 32, 3 / 32, TOO_FEW)
    write_tables(found, table, settings, tmp_path / "out", "test")
    text = (tmp_path / "out" / "results.md").read_text()
    assert "not in here: embedded/bad/FLAIR-0." in text
    assert "all (n = 6, p ≥ 0.094)" in text


@pytest.mark.slow
def test_the_tables_name_who_fails_and_are_the_same_twice(everything, table, settings, tmp_path):
    again = read_runs([scored.run for scored in everything.runs])
    written = []
    for found, statistics in ((everything, table), (again, results(again, "intensity"))):
        out = tmp_path / str(len(written))
        write_tables(found, statistics, settings, out, "test")
        written.append({path.name: path.read_bytes() for path in out.iterdir()})
    names = {"results.md", "results.csv", "costs.md", "costs.csv", "runs.json"}
    assert set(written[0]) == names
    assert written[0] == written[1]
    text = written[0]["results.md"].decode()
    assert "| embedded | T2w | AP | good | like | bad |" in text
    assert re.search(r"\| bad \| .* \| BELOW \(-0\.\d+, p = ", text)
    # What cannot repeat stands elsewhere.
    assert "61" not in written[0]["runs.json"].decode()
    costs = written[0]["costs.md"].decode()
    assert "| good | intensity | 3 | 5 | 7 | 61 | 0.50 | 3 | cpu, 1 threads |" in costs


@pytest.mark.slow
def test_pooled_cohorts_count_every_subject_of_both(everything):
    cohorts = {"embedded": {}, "both": {"pool": ["embedded", "again"]}}
    again = everything.table.assign(cohort="again")
    again = again[again.method != "bad"]
    healthy = everything.healthy
    healthy = pd.concat([healthy, healthy.assign(cohort="again")])
    whole = replace(everything, table=pd.concat([everything.table, again]), healthy=healthy)
    found = pooled(whole, cohorts)
    both = found.table[found.table.cohort == "both"]
    assert set(both.method) == set(everything.table.method) - {"bad"}
    assert set(both.subject) == {
        f"{cohort}/{subject}"
        for cohort in ("embedded", "again")
        for subject in everything.table.subject
    }
    rows = results(found, "intensity").set_index(
        ["cohort", "sequence", "group", "method", "metric"]
    )
    one, two = (rows.loc[(name, "T2w", "all", "good", "AP")] for name in ("embedded", "both"))
    assert (two.n, two["mean"]) == (2 * one.n, pytest.approx(one["mean"]))
    assert two.p < one.p


def test_a_score_of_another_methods_model_trains_nothing(settings, tmp_path):
    lines = settings["methods"] | {"again": {"of": "good", "small": "intensity model.x=1"}}
    plan = make_plan(
        settings | {"methods": lines},
        "small",
        cohorts=["embedded"],
        methods=["again"],
        sequences=["T2w"],
        folder=tmp_path,
    )
    (run,) = plan.runs
    trained = tmp_path / "embedded" / "good" / "T2w-0"
    assert run.trained_as == trained
    with pytest.raises(InputError, match="good/T2w-0: not finished"):
        run.command(None)
    trained.mkdir(parents=True)
    (trained / "report.html").touch()
    # Behind the run's own, and so the one that counts.
    words = [word for word in run.command(None) if word.startswith("ckpt=")]
    assert words == ["ckpt=last", f"ckpt={trained / 'checkpoints' / 'last.ckpt'}"]

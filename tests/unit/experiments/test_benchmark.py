"""The benchmark's plan, its statistics on known scores, and tables of the same bytes."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hydra import compose, initialize_config_module
from tiny import AFFINE, ROOT, brain, lesion

from brainuad.errors import InputError
from brainuad.evaluation.results import COLUMNS
from brainuad.metrics.statistics import holm, paired_wilcoxon
from brainuad.volumes.nifti import read_volume, write_volume
from experiments.benchmark.__main__ import main
from experiments.benchmark.bars import bars
from experiments.benchmark.cohorts import MAKERS, carried
from experiments.benchmark.healthy_slices import healthy_slices
from experiments.benchmark.plan import make_plan, read_settings
from experiments.benchmark.scores import (
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
from experiments.benchmark.tables import write_tables

METHODS = {"intensity": 0.0, "good": 0.3, "bad": -0.1, "like": None}
"""How much better than the baseline; None: now better, now worse."""


@pytest.fixture(scope="module")
def settings():
    """Two sequences of an embedded cohort, and one that needs what is not there."""
    line = {"small": "intensity model.equalise=false", "full": "madad_paper"}
    return {
        "baseline": "intensity",
        "methods": dict.fromkeys(METHODS, line) | {"intensity": line | {"learns": False}},
        "sizes": {
            "small": {"runs": "runs/b", "seeds": [0], "options": ["a=1"]},
            "full": {"runs": "runs/f", "seeds": [0, 1], "options": ["a=2"]},
        },
        "cohorts": {
            "embedded": {
                "title": "Embedded",
                "sequences": ["T2w", "FLAIR"],
                "options": ["a=3"],
                "methods": {"good": {"small": ["a=4"]}},
            },
            "absent": {"title": "Absent", "sequences": ["T2w"], "needs": "no/such/folder"},
            "real": {"title": "Real", "sequences": ["T2w"], "prepare": "real_t1", "real": True},
        },
    }


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


def test_every_size_of_the_shipped_benchmark_is_the_experiments_own():
    """Another size than its own would make another method of a published preset."""
    for size in read_settings()["sizes"].values():
        words = [*size["options"], *size.get("again", [])]
        assert not [word for word in words if not word.startswith("postprocess=")]


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


def test_what_the_shipped_settings_name_exists(monkeypatch):
    settings = read_settings()
    for line in settings["methods"].values():
        for size in settings["sizes"]:
            name = line[size].split()[0]
            assert (ROOT / "configs" / "experiment" / f"{name}.yaml").is_file()
    monkeypatch.setenv("BRAINUAD_REAL_DATA", "somewhere")
    monkeypatch.setattr("experiments.benchmark.plan._lacking", lambda cohort: "")
    plan = make_plan(settings, "small", methods=["madad_prototypes"], seeds=[0])
    assert {run.cohort for run in plan.runs} == {
        name for name, cohort in settings["cohorts"].items() if "pool" not in cohort
    }
    assert {run.prepare for run in plan.runs} - {""} == set(MAKERS)
    for run in {run.cohort: run for run in plan.runs}.values():
        with initialize_config_module("brainuad.configs", version_base="1.3"):
            words = [word for word in run.command(None)[2:] if "output_dir" not in word]
            cfg = compose("train", words)
        assert cfg.name == "madad_prototypes"
        # One chain for all methods of a cohort.
        assert cfg.postprocess.mask_steps[0].min_volume_mm3 == 50


def _write_run(folder, method, sequence, seed, subjects, shift):
    """A finished run: AP and Dice around those of the baseline, ⌈Dice⌉ 0.05 above its Dice."""
    folder.mkdir(parents=True)
    rows = []
    for number in range(subjects):
        more = shift if shift is not None else (0.02 + 0.001 * number) * (-1) ** number
        ap = 0.3 + 0.01 * number + more * (1 + 0.01 * number) + 0.001 * seed
        pathology = ("tumour", "ms", "stroke")[number % 3]
        contrast = (2.0, 0.1)[number % 2]
        facts = [f"p{number:02d}", "phantom", sequence, method, pathology, contrast, "native"]
        for threshold, metric, value in (
            ("none", "auprc", ap),
            ("healthy", "dice", ap + 0.1),
            ("oracle", "dice", ap + 0.15),
            ("none", "lesion_ml", 1.0 + number),
        ):
            rows.append([*facts, threshold, "", metric, value])
    healthy = ["h0", "phantom", sequence, method, "", "", "native", "healthy", 0.5, "fpr_healthy"]
    rows.append([*healthy, 0.01])
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(folder / "scores.csv", index=False)
    record = {"method": method, "parameters": 7, "fit_s": 61.0, "wall_time_per_volume_s": 0.5}
    record |= {"peak_memory_bytes": 3 * 2**20, "device": "cpu", "threads": 1, "command": "train.py"}
    (folder / "provenance.json").write_text(json.dumps(record))
    (folder / "config.yaml").write_text(yaml.safe_dump({"trainer": {"max_epochs": 5}}))
    (folder / "report.html").write_text("")


def _found(settings, folder, subjects=24, seeds=(0,)):
    """Every method on both sequences, read."""
    plan = make_plan(settings, "small", cohorts=["embedded"], seeds=seeds, folder=folder)
    for run in plan.runs:
        shift = METHODS[run.method]
        _write_run(ROOT / run.out, run.method, run.sequence, run.seed, subjects, shift)
    return read_runs(plan.runs)


@pytest.fixture(scope="module")
def everything(settings, tmp_path_factory):
    """24 subjects, three seeds of what learns."""
    return _found(settings, tmp_path_factory.mktemp("runs"), seeds=(0, 1, 2))


@pytest.fixture(scope="module")
def table(everything):
    """Its statistics."""
    return results(everything, "intensity")


def _row(table, **wanted):
    for key, value in wanted.items():
        table = table[table[key] == value]
    return table.iloc[0]


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


def test_too_few_subjects_tell_nothing_and_a_missing_run_is_named(settings, tmp_path):
    _found(settings, tmp_path / "runs", subjects=6)
    (tmp_path / "runs" / "embedded" / "bad" / "FLAIR-0" / "report.html").unlink()
    plan = make_plan(settings, "small", cohorts=["embedded"], folder=tmp_path / "runs")
    found = read_runs(plan.runs)
    assert found.missing == ("embedded/bad/FLAIR-0",)
    table = results(found, "intensity")
    row = _row(table, sequence="T2w", group="all", method="good", metric="AP")
    assert smallest_p(6) == 1 / 32
    # All six are better, but three methods are tested.
    assert (row.p, row.p_least, row.verdict) == (1 / 32, 3 / 32, TOO_FEW)
    write_tables(found, table, settings, tmp_path / "out")
    text = (tmp_path / "out" / "results.md").read_text()
    assert "not in here: embedded/bad/FLAIR-0." in text
    assert "all (n = 6, p ≥ 0.094)" in text


def test_the_tables_name_who_fails_and_are_the_same_twice(everything, table, settings, tmp_path):
    again = read_runs([scored.run for scored in everything.runs])
    written = []
    for found, statistics in ((everything, table), (again, results(again, "intensity"))):
        out = tmp_path / str(len(written))
        write_tables(found, statistics, settings, out)
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


def test_the_bars_take_all_of_it(table, settings):
    def last_cells(statistics):
        lines = bars(statistics, settings).splitlines()
        rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
        return {row[0]: row[-1] for row in rows if "---" not in row}

    assert last_cells(table) == {
        "method": "all of it by",
        "good": "AP and Dice",
        "bad": "neither",
        "like": "neither",
    }
    tumours = (table.sequence == "T2w") & (table.group == "tumour") & (table.method == "good")
    for metric, value in (("Dice", 0.549), ("gap", 0.1)):
        other = table.copy()
        other.loc[tumours & (other.metric == metric), "mean"] = value
        assert last_cells(other)["good"] == "neither"
    bright = (table.sequence == "FLAIR") & (table.group == "bright") & (table.metric == "AP")
    other = table.copy()
    other.loc[bright & (table.method == "good"), "verdict"] = BELOW
    assert last_cells(other)["good"] == "Dice"


def test_a_lesion_goes_to_the_same_place_of_another_brain():
    small = np.zeros((24, 24, 8), bool)
    small[2:22, 2:22] = True
    shape = np.zeros_like(small)
    shape[2:7, 12:17] = True
    large = np.zeros((48, 48, 8), bool)
    large[4:44, 4:44] = True
    found = np.argwhere(carried(shape, small, large))
    assert found.min(axis=0)[:2].tolist() == pytest.approx([4, 24], abs=2)
    assert found.max(axis=0)[:2].tolist() == pytest.approx([13, 33], abs=2)


def test_healthy_slices_are_those_that_the_lesion_does_not_reach(tmp_path):
    rows = ["subject,sequence,image,lesion_mask,split"]
    for number, split in enumerate(("train", "val", "test")):
        image, _ = brain(number)
        write_volume(tmp_path / f"s{number}.nii.gz", image, AFFINE)
        write_volume(tmp_path / f"s{number}_seg.nii.gz", lesion(), AFFINE, np.uint8)
        rows.append(f"s{number},T2w,s{number}.nii.gz,s{number}_seg.nii.gz,{split}")
    (tmp_path / "rows.csv").write_text("\n".join(rows))
    table = pd.read_csv(healthy_slices(tmp_path / "rows.csv", tmp_path / "out"))
    assert table.healthy.tolist() == [True, True, False]
    assert table.lesion_mask.isna().tolist() == [True, True, False]
    before, after = read_volume(tmp_path / "s0.nii.gz"), read_volume(Path(table.image[0]))
    # Slices 8 to 11 have the lesion; 5 mm are two slices of 3 mm more.
    assert not after.array[..., 6:14].any()
    np.testing.assert_array_equal(after.array[..., :6], before.array[..., :6])
    np.testing.assert_array_equal(after.array[..., 14:], before.array[..., 14:])
    (tmp_path / "rows.csv").write_text("subject,image\ns0,s0.nii.gz\n")
    with pytest.raises(InputError, match="no lesion mask; make the rows with --labelled"):
        healthy_slices(tmp_path / "rows.csv", tmp_path / "out")

"""The benchmark's command on a tiny cohort: one job of an array, the rest, and tables again."""

import json
import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest
import skimage.io
import yaml
from tiny import ROOT, write_tiny_cohort

from brainuad.benchmark import transfer
from brainuad.benchmark.command import main
from brainuad.cohorts.manifest import write_cohort
from brainuad.label_free.difficulty import CELLS


def test_a_job_then_the_rest_then_the_same_tables(tmp_path, capfd, monkeypatch):
    # Each run is a process of its own, as trainings of other tests are, which count its lines.
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    write_tiny_cohort(tmp_path / "cohort", val=1, sick=2)
    line = {"small": "intensity", "learns": False}
    settings = {
        "baseline": "intensity",
        "methods": {
            "intensity": line,
            "intensity_raw": line | {"small": "intensity model.equalise=false"},
            "broken": line | {"small": "intensity model.nonsense=1"},
        },
        "sizes": {"small": {"runs": str(tmp_path / "runs"), "seeds": [0], "options": ["jobs=1"]}},
        "cohorts": {
            "mine": {
                "title": "My scans",
                "sequences": ["T2w"],
                "options": ["data=folder", f"data.source={tmp_path / 'cohort'}"],
            }
        },
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    words = ["--settings", str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "out")]

    # As a SLURM array starts it: this run and no other, in the process that gets the signals.
    command = [sys.executable, "-m", "experiments.benchmark", *words, "--job", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "mine"
    assert [path.parent.parent.name for path in folder.glob("*/*/report.html")] == ["intensity_raw"]
    made = (folder / "intensity_raw" / "T2w-0" / "provenance.json").stat().st_mtime_ns

    # A run that fails does not stop the others, and is listed.
    assert main(words) == 3
    printed = capfd.readouterr()
    assert "failed: mine/broken/T2w-0: exit status" in printed.err
    assert "[2/3] mine/intensity_raw/T2w-0\nfinished already" in printed.out
    assert (folder / "intensity_raw" / "T2w-0" / "provenance.json").stat().st_mtime_ns == made
    assert "not in here: mine/broken/T2w-0." in printed.out
    assert "| mine | T2w | AP |" in printed.out

    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")}
    names = {path.name for path in before}
    assert {"results.md", "results.csv", "costs.csv", "runs.json", "mine_gap.png"} <= names
    assert {"mine_cases.jpg", "mine_size.png", "mine_curves.png"} <= names
    assert len(list(folder.glob("*/*/cases.jpg"))) == 2
    assert main([*words, "--tables-only"]) == 0
    assert {path: path.read_bytes() for path in before} == before

    # The grid of difficulty: measured once, a figure of it ever after.
    capfd.readouterr()
    assert main([*words, "--tables-only", "--difficulty", "--methods", "intensity"]) == 0
    assert "difficulty: mine/intensity/T2w-0" in capfd.readouterr().out
    grid = pd.read_csv(folder / "intensity" / "T2w-0" / "difficulty.csv")
    assert len(grid) == 3 * len(CELLS)
    assert grid.ap.notna().all()
    assert main([*words, "--tables-only", "--difficulty", "--methods", "intensity"]) == 0
    assert "difficulty: " not in capfd.readouterr().out
    picture = skimage.io.imread(tmp_path / "out" / "figures" / "mine_difficulty.png")
    assert picture.std() > 10

    assert main([*words, "--job", "3"]) == 2
    assert "there is no run 3: the plan has 0 to 2" in capfd.readouterr().err
    assert main([*words, "--list"]) == 0
    assert "   1  finished  mine/intensity_raw/T2w-0" in capfd.readouterr().out


def test_a_model_meets_other_scans_with_the_threshold_it_knows(tmp_path, run, monkeypatch):
    write_tiny_cohort(tmp_path / "cohort", sick=1)
    trained, out = tmp_path / "trained", tmp_path / "out"
    source = f"data.source={tmp_path / 'cohort'}"
    done = run(
        *("train.py", "experiment=intensity", "data=folder", source, "data.sequence=T2w"),
        *(f"paths.output_dir={trained}", "controls=none", "jobs=1", "report=false"),
    )
    assert done.returncode == 0, done.stderr
    others = write_tiny_cohort(tmp_path / "other", train=0, val=0).scans
    others = [replace(scan, subject=f"new{scan.subject}") for scan in others]
    write_cohort(tmp_path / "other", others, {"name": "other"})
    words = [str(trained), str(tmp_path / "other"), str(out), "name=intensity", "controls=none"]
    monkeypatch.setattr(sys, "argv", ["transfer.py", *words])
    assert transfer.main() == 0
    before, after = (
        json.loads((folder / "summary.json").read_text())["thresholds"]["intensity"]
        for folder in (trained, out)
    )
    assert before == pytest.approx(after)
    scores = pd.read_csv(out / "scores.csv")
    assert set(scores.subject) - {"(pooled)"} == {scan.subject for scan in others}
    assert scores[(scores.metric == "dice") & (scores.threshold == "healthy")].value.max() > 0.5
    assert (out / "report.html").is_file()

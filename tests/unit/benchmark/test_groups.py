"""Scores by group of lesions, with tables and tests by hand."""

import pandas as pd
import pytest
from tiny import METHODS, write_tiny_model

from brainuad.benchmark import runs
from brainuad.benchmark.groups import THIRD, group_means, paired_tests, read_subjects, to_table


@pytest.fixture
def sick(tmp_path):
    """Return scores of six tumours by two methods, as a run folder has them."""
    rows = []
    for number in range(6):
        for method, more in (("good", 0.2), ("intensity", 0.0)):
            facts = {"subject": f"s{number}", "pathology": "tumour", "contrast": number - 2.0}
            facts |= {"method": method, "threshold": "none", "metric": "auprc"}
            rows.append(facts | {"value": 0.1 * number + more})
    rows.append({"subject": "h", "method": "good", "threshold": "none", "metric": "auprc"})
    pd.DataFrame(rows).to_csv(tmp_path / "scores.csv", index=False)
    return read_subjects(tmp_path)


def test_healthy_subjects_and_other_methods_are_left_out(sick, tmp_path):
    assert set(sick.subject) == {f"s{number}" for number in range(6)}
    assert set(read_subjects(tmp_path, "good").method) == {"good"}


def test_groups_are_by_pathology_and_contrast(sick):
    means = group_means(sick).set_index(["method", "group"])
    assert means["mean"]["good", "all"] == pytest.approx(0.45)
    # Contrasts are -2 to 3: the third nearest to 0 is 0 and, of -1 and 1, the first.
    assert means["n"]["good", THIRD] == 2
    assert means["mean"]["intensity", "dark"] == pytest.approx(0.05)
    assert means["mean"]["intensity", "bright"] == pytest.approx(0.4)


def test_the_table_has_the_spread_over_seeds(sick):
    means = pd.concat([group_means(sick).assign(seed=seed) for seed in (0, 1)])
    assert "| AP | good | 0.450 ± 0.000 |" in to_table(means)
    assert "| metric | method | all (n=6) | tumour (n=6) |" in to_table(means)


def test_a_method_is_tested_against_each_other_one(sick):
    text = paired_tests(sick.assign(seed=0), "good", ["intensity"])
    # Six equal gains: the smallest p of six pairs is 2 / 2^6.
    assert "| intensity | +0.200 | 0.031 |" in text


def test_a_command_continues_its_run_and_a_finished_one_is_not_started(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(runs.subprocess, "run", lambda command, check: started.append(command))
    runs.train("dae", tmp_path, "T2w", 3, ["jobs=1"])
    (command,) = started
    assert command[0].endswith("brainuad-train")
    assert {"experiment=dae", "seed=3", "ckpt=last", "jobs=1"} <= set(command)
    (tmp_path / "report.html").touch()
    runs.train("dae", tmp_path, "T2w", 3, [])
    assert len(started) == 1


def test_a_trained_model_gets_other_options(tmp_path):
    path = write_tiny_model(tmp_path / "model.ckpt", "intensity")
    assert METHODS["intensity"]["equalise"] is False
    assert runs.changed(path, {"equalise": True}).method.equalise is True

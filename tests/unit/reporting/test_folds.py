"""Folds and seeds in one table: known scores, known means."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from brainuad.cli.report import main
from brainuad.errors import InputError
from brainuad.reporting.comparison.folds import compare_folds, find_runs

SUBJECTS = [f"p{i}" for i in range(8)]
COLUMNS = [*("subject", "cohort", "sequence", "method", "pathology", "contrast", "space")]
COLUMNS += ["threshold", "threshold_value", "metric", "value"]


def _value(subject: int, fold: int, seed: int) -> float:
    return 0.4 + 0.02 * subject + 0.05 * fold + 0.01 * seed


def _write(base, fold, seed, method="own", cohort="c", folds=2):
    """A run folder whose AP is known, and an intensity control that is worse by 0.3."""
    out = base / f"{method}_{fold}_{seed}"
    out.mkdir(parents=True)
    rows = []
    for number, subject in enumerate(SUBJECTS):
        for name, less in ((method, 0.0), ("intensity", 0.3)):
            value = _value(number, fold, seed) - less
            rows.append([subject, cohort, "T2w", name, "ms", "", "native", "none", "", "auprc"])
            rows[-1].append(value)
    pd.DataFrame(rows, columns=COLUMNS).to_csv(out / "scores.csv", index=False)
    summary = {"cohort": cohort, "sequence": "T2w", "space": "native", "results": []}
    (out / "summary.json").write_text(json.dumps(summary))
    (out / "provenance.json").write_text(json.dumps({"method": method}))
    config = {"seed": seed, "data": {"fold": fold, "folds": folds}}
    (out / "config.yaml").write_text(yaml.safe_dump(config))
    return out


def test_means_are_over_folds_of_means_over_seeds(tmp_path):
    runs = [_write(tmp_path, fold, seed) for fold in (0, 1) for seed in (0, 1, 2)]
    table, means = compare_folds(runs)
    own = dict(zip(table.header, table.rows[0], strict=True))
    assert [own[key] for key in ("method", "folds", "seeds", "runs")] == ["own", "2", "3", "6"]
    per_fold = [
        np.mean([_value(i, fold, s) for i in range(8) for s in range(3)]) for fold in (0, 1)
    ]
    per_seed = [np.mean([_value(i, f, s) for i in range(8) for f in range(2)]) for s in range(3)]
    mean, std = np.mean(per_fold), np.std(per_fold, ddof=1)
    expected = f"{mean:.3f} ± {std:.3f} (± {np.std(per_seed, ddof=1):.3f}) ["
    assert own["AP"].startswith(expected)
    low, high = (float(x) for x in own["AP"].split("[")[1].split("]")[0].split(", "))
    assert 0.4 < low < mean < high < 0.7
    # All eight subjects differ in one direction: p = 2 / 256.
    assert own["AP"].endswith("*")
    assert not table.rows[1][4].endswith("*")
    assert own["HD95, mm"] == "–"
    assert table.subjects == 8
    assert "Missing" not in table.note
    row = means[(means.method == "own") & (means.fold == 1) & (means.seed == 2)]
    assert row[row.metric == "AP"]["mean"].item() == pytest.approx(
        np.mean([_value(i, 1, 2) for i in range(8)])
    )


def test_what_is_missing_is_said(tmp_path):
    runs = [_write(tmp_path, 0, 0), _write(tmp_path, 1, 0), _write(tmp_path, 0, 1)]
    assert "Missing: own fold 1 seed 1" in compare_folds(runs)[0].note


def test_runs_that_do_not_belong_together_are_refused(tmp_path):
    first = _write(tmp_path, 0, 0)
    with pytest.raises(InputError, match="its cohort is other"):
        compare_folds([first, _write(tmp_path / "a", 1, 0, cohort="other")])
    with pytest.raises(InputError, match="data.folds is 5"):
        compare_folds([first, _write(tmp_path / "b", 1, 0, folds=5)])
    with pytest.raises(InputError, match="same method, fold and seed"):
        compare_folds([first, _write(tmp_path / "c", 0, 0)])
    (first / "config.yaml").write_text("seed: x")
    with pytest.raises(InputError, match="tells no fold and seed"):
        compare_folds([first])


def test_command_takes_a_folder_of_runs_and_names_the_unfinished(tmp_path, capsys):
    for method in ("own", "other"):
        _write(tmp_path, 0, 0, method)
        _write(tmp_path, 1, 0, method)
    unfinished = tmp_path / "own_1_1"
    unfinished.mkdir()
    (unfinished / "config.yaml").write_text("seed: 1")
    assert find_runs([tmp_path])[1] == [unfinished]
    assert main(["folds", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert f"{unfinished} has no scores yet" in printed
    for name in ("other", "own", "intensity"):
        assert f"| {name} | 2 | 1 | 2 |" in printed
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        *("folds.md", "folds.tex", "folds.csv", "folds.html", "runs.csv", "tests.csv"),
    }
    assert main(["folds", str(tmp_path / "out")]) == 2
    assert "no scored run below" in capsys.readouterr().err

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tiny import write_tiny_cohort

from brainuad.cli.report import main
from brainuad.cohorts.manifest import write_cohort
from brainuad.errors import InputError
from brainuad.evaluation.maps import evaluate_maps
from brainuad.evaluation.results import write_evaluation
from brainuad.metrics.statistics import holm, paired_wilcoxon
from brainuad.postprocess.pipeline import Postprocess
from brainuad.postprocess.threshold import HealthyThreshold
from brainuad.records.run import RunRecord
from brainuad.reporting.comparison.runs import METRICS, compare_runs
from brainuad.volumes.nifti import read_mask, read_volume, write_volume


def _run(cohort, folder, name, noise):
    """A scored run whose map is the truth under that much noise."""
    for scan in cohort.scans:
        if scan.split == "train":
            continue
        image = read_volume(scan.image)
        truth = read_mask(scan.lesion_mask) if scan.lesion_mask else np.zeros(image.array.shape)
        rng = np.random.default_rng(int(scan.subject[3:]))
        score = truth + noise * rng.random(image.array.shape)
        write_volume(folder / "maps" / f"{scan.subject}_anomaly.nii.gz", score, image.affine)
    chain = Postprocess([], HealthyThreshold(0.01), [])
    # Healthy maps of nothing but zeros tell of no threshold.
    known = None if noise else {name: 0.5}
    found = evaluate_maps(cohort, "T2w", {name: folder / "maps"}, chain, thresholds=known)
    write_evaluation(found, folder, RunRecord(method=name))
    return folder


@pytest.fixture
def cohort(tmp_path):
    """Eight patients: enough for a test to be significant."""
    return write_tiny_cohort(tmp_path / "cohort", train=1, val=1, sick=8)


def test_table_and_tests_equal_the_scores(cohort, tmp_path):
    good = _run(cohort, tmp_path / "good", "own_a", 1.2)
    bad = _run(cohort, tmp_path / "bad", "own_b", 3.0)
    found = compare_runs([good, bad])
    assert found.subjects == 8
    titles = [title for title, *_ in METRICS]
    more = [f"Dice, {name} threshold" for name in ("scan", "mebin", "otsu")]
    assert found.header == ["run", *titles, *more]
    assert set(found.tests.metric) == set(titles)
    values = []
    for folder in (good, bad):
        scores = pd.read_csv(folder / "scores.csv")
        values.append(scores[scores.metric == "auprc"].sort_values("subject").value.to_numpy())
    assert found.rows[0][1].startswith(f"{values[0].mean():.3f} ± {values[0].std(ddof=1):.3f} [")
    row = found.tests[found.tests.metric == "AP"].iloc[0]
    assert row.p == paired_wilcoxon(*values)
    assert row.difference == pytest.approx(values[0].mean() - values[1].mean())
    assert found.tests.p_holm.tolist() == holm(found.tests.p.tolist())
    # All eight pairs have one sign: p = 2 / 256, significant after Holm.
    assert found.rows[0][1].endswith("*")
    assert not found.rows[1][1].endswith("*")


@pytest.mark.slow
def test_equal_runs_have_no_winner(cohort, tmp_path):
    folders = [_run(cohort, tmp_path / name, "own", 1.5) for name in ("x", "y")]
    found = compare_runs(folders)
    assert [row[0] for row in found.rows] == ["own (x)", "own (y)"]
    assert not any(cell.endswith("*") for row in found.rows for cell in row)
    assert (found.tests.p == 1).all()


@pytest.mark.slow
def test_command_writes_every_format(cohort, tmp_path, capsys):
    folders = [_run(cohort, tmp_path / n, f"own_{n}", k) for n, k in (("x", 1.2), ("y", 3.0))]
    out = tmp_path / "out"
    assert main(["compare", *map(str, folders), "--out", str(out)]) == 0
    names = {"compare.md", "compare.tex", "compare.csv", "compare.html", "tests.csv"}
    assert {path.name for path in out.iterdir()} == names
    assert "| own_x |" in capsys.readouterr().out
    assert r"own\_x & " in (out / "compare.tex").read_text(encoding="utf-8")
    assert "own_y" in (out / "compare.html").read_text(encoding="utf-8")
    assert pd.read_csv(out / "compare.csv").run.tolist() == ["own_x", "own_y"]
    assert len(pd.read_csv(out / "tests.csv")) == len(METRICS)


def test_runs_that_cannot_be_compared_are_refused(cohort, tmp_path):
    first = _run(cohort, tmp_path / "x", "own", 1.2)
    with pytest.raises(InputError, match="two run folders or more"):
        compare_runs([first])
    scans = [s if s.split != "val" else replace(s, subject="other") for s in cohort.scans]
    moved = write_cohort(tmp_path / "moved", scans, {"name": "tiny"})
    for scan in cohort.scans:
        if scan.split == "val":
            source = tmp_path / "x" / "maps" / f"{scan.subject}_anomaly.nii.gz"
            (tmp_path / "y" / "maps").mkdir(parents=True, exist_ok=True)
            (tmp_path / "y" / "maps" / "other_anomaly.nii.gz").write_bytes(source.read_bytes())
        elif scan.split == "test":
            source = tmp_path / "x" / "maps" / f"{scan.subject}_anomaly.nii.gz"
            (tmp_path / "y" / "maps" / source.name).write_bytes(source.read_bytes())
    chain = Postprocess([], HealthyThreshold(0.01), [])
    found = evaluate_maps(moved, "T2w", {"own": tmp_path / "y" / "maps"}, chain)
    write_evaluation(found, tmp_path / "y", RunRecord())
    with pytest.raises(InputError, match="its split_hash is"):
        compare_runs([first, tmp_path / "y"])
    (tmp_path / "x" / "scores.csv").unlink()
    with pytest.raises(InputError, match="has no scores; evaluate it first"):
        compare_runs([first, first])


@pytest.mark.slow
def test_the_page_has_the_plots(cohort, tmp_path):
    runs = [_run(cohort, tmp_path / n, n, noise) for n, noise in (("a", 1.2), ("b", 3.0))]
    assert main(["compare", *map(str, runs), "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "compare.html").read_text(encoding="utf-8")
    # Bands, volumes, one pair, calibration.
    assert page.count("<svg") == 4
    assert "Mean precision over the subjects" in page
    assert "Calibration of the healthy threshold" in page


@pytest.mark.slow
def test_less_is_better_where_the_record_says_so(cohort, tmp_path):
    good = _run(cohort, tmp_path / "good", "own_a", 0.0)
    bad = _run(cohort, tmp_path / "bad", "own_b", 1.5)
    found = compare_runs([good, bad])
    column = found.header.index("HD95, mm")
    assert found.rows[0][column].startswith("0.000")
    assert found.rows[0][column].endswith("*")
    assert not found.rows[1][column].endswith("*")

"""The grid of painted lesions: what a brightness detector finds is known."""

import json

import numpy as np
import pandas as pd
import pytest
from tiny import write_tiny_cohort, write_tiny_model

from brainuad.cli.report import main
from brainuad.errors import InputError
from brainuad.label_free.difficulty import CELLS, measure_difficulty
from brainuad.reporting.pages.difficulty import difficulty
from brainuad.reporting.run_folder import read_run


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run of the plain brightness of a scan, its grid measured by the command."""
    folder = tmp_path_factory.mktemp("difficulty")
    cohort = write_tiny_cohort(folder / "cohort")
    run = folder / "run"
    val = [scan.subject for scan in cohort.select("val", "T2w")]
    write_tiny_model(run / "model.ckpt", subjects={"train": ["sub00"], "val": val})
    (run / "provenance.json").write_text(json.dumps({"cohort": {"path": str(cohort.root)}}))
    lines = [f"paths: {{cache_dir: {folder / 'cache'}}}", "jobs: 1", "predict_batch_size: 8"]
    (run / "config.yaml").write_text("\n".join([*lines, "predict_precision: 32-true"]))
    assert main(["difficulty", str(run), "--draws", "2"]) == 0
    return run


@pytest.mark.slow
def test_a_bright_lesion_is_found_by_its_brightness_alone(run_folder):
    table = pd.read_csv(run_folder / "difficulty.csv")
    assert len(table) == 2 * len(CELLS)
    assert set(table.subject) == {"sub03", "sub04"}
    ap = table.groupby("contrast").ap.mean()
    assert ap[0.4] > ap[0.2] > ap[-0.2] >= ap[-0.4]
    assert ap[0.4] > 0.3
    # Nothing dark lies above a threshold of 0.75.
    recall = table.groupby("contrast").recall.mean()
    assert recall[-0.4] == recall[-0.2] == 0
    assert recall[0.4] > recall[0.2]
    for radius, volume in table.groupby("radius_mm").volume_ml:
        ball = 4 / 3 * np.pi * radius**3 / 1000
        assert (volume > 0.2 * ball).all()
        assert (volume < 1.5 * ball).all()
    # The maps are gone: what they say is in the table.
    assert not list(run_folder.rglob("*_anomaly.nii.gz"))


def test_the_report_shows_the_grid(run_folder):
    page = (run_folder / "report.html").read_text()
    assert 'id="difficulty"' in page
    assert page.count("by radius and contrast") == 4
    table = pd.read_csv(run_folder / "difficulty.csv")
    cell = table[(table.radius_mm == 16) & (table.contrast == 0.4) & (table.place == "deep")]
    assert f"{cell.ap.mean():.2f}" in page
    assert "48 ellipsoids were painted into 2 healthy validation brains" in page


def test_the_same_lesions_are_met_again(run_folder):
    before = pd.read_csv(run_folder / "difficulty.csv")
    again, failures = measure_difficulty(run_folder, draws=2)
    assert not failures
    pd.testing.assert_frame_equal(again, before, check_exact=False)


def test_a_run_without_the_grid_has_no_section_and_a_damaged_one_is_refused(run_folder, tmp_path):
    (tmp_path / "provenance.json").write_text("{}")
    assert difficulty(read_run(tmp_path)) is None
    (tmp_path / "difficulty.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"difficulty\.csv"):
        difficulty(read_run(tmp_path))
    with pytest.raises(InputError, match="is gone; bring it back"):
        measure_difficulty(tmp_path)

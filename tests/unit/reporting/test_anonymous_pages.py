"""Pages to hand on: one file, which tells no names, no places and shows no head."""

import re

import numpy as np
import pytest
from predicted import HOSTILE, MARKUP, write_predictions
from tiny import AFFINE, brain, write_tiny_cohort, write_tiny_model

from brainuad.cli.predict import main as predict
from brainuad.cli.prepare import main as prepare
from brainuad.reporting.viewer import write_anonymous_page
from brainuad.volumes.nifti import write_volume


def _told(page, *secrets):
    text = page.read_text(encoding="utf-8")
    assert "<img" not in text
    assert "data:image" not in text
    assert "src=" not in text
    assert "anonymous" in text
    for secret in secrets:
        assert secret not in text, secret
    return re.sub(r"<[^>]+>", " ", text.split("<main", 1)[1])


def test_a_page_of_predictions_tells_numbers_alone(tmp_path):
    out = write_predictions(tmp_path / "patient_miller")
    page = write_anonymous_page(out)
    said = _told(page, "miller", "sick", "broken", "nowhere", str(tmp_path), MARKUP, HOSTILE)
    for number in range(1, 5):
        assert f"scan {number}" in said
    assert "0.3100" in said
    assert {"done", "flagged", "failed"} <= set(said.split())
    assert not (out / "viewer").exists()


def test_predict_makes_it_where_asked(tmp_path):
    model = write_tiny_model(tmp_path / "m.ckpt")
    cohort = write_tiny_cohort(tmp_path / "miller")
    words = [str(model), str(cohort.root), str(tmp_path / "out")]
    assert predict([*words, "--anonymous"]) == 0
    _told(tmp_path / "out" / "index.html", "miller", "sub0", str(tmp_path))
    # The page with pictures can be made later.
    assert predict(words) == 0
    assert (tmp_path / "out" / "viewer").is_dir()


@pytest.mark.parametrize("anonymous", [True, False])
def test_a_page_of_the_preparation(tmp_path, anonymous):
    for index in range(3):
        path = tmp_path / "raw" / f"miller{index}_T1w.nii.gz"
        write_volume(path, 100 * brain(index)[0], AFFINE)
    bad = tmp_path / "raw" / "schmidt_T1w.nii.gz"
    write_volume(bad, np.zeros((8, 8, 8)), AFFINE)
    words = [str(tmp_path / "raw"), str(tmp_path / "out"), "preparation=extracted"]
    words += ["preparation.steps.spacing_mm=3"] + ["--anonymous"] * anonymous
    assert prepare(words) == 3
    page = tmp_path / "out" / "qc.html"
    if not anonymous:
        assert "miller0" in page.read_text()
        assert "data:image" in page.read_text()
        return
    said = _told(page, "miller", "schmidt", str(tmp_path), "Quality of raw", "Steps of the")
    assert "scan 3" in said
    assert "1 failed" in page.read_text()
    assert "Check the brain mask" in said

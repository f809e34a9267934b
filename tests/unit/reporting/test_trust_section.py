"""The trust checks say what the scores' files hold, in words that a reviewer would use."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from tiny import write_tiny_cohort

from brainuad.evaluation import trust_checks
from brainuad.evaluation.maps import evaluate_maps
from brainuad.evaluation.results import write_evaluation
from brainuad.postprocess.pipeline import Postprocess
from brainuad.postprocess.threshold import HealthyThreshold
from brainuad.records.run import RunRecord
from brainuad.records.summary import Result
from brainuad.reporting.drawing import plots
from brainuad.reporting.drawing.false_positives import draw_false_positives
from brainuad.reporting.pages.render import render
from brainuad.reporting.pages.trust import trust
from brainuad.reporting.run_folder import read_run
from brainuad.reporting.tables import Column, summary_rows
from brainuad.volumes.nifti import read_mask, read_volume, write_volume


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_tiny_cohort(tmp_path_factory.mktemp("c") / "cohort", val=2, test=3, sick=8)


def _run(cohort, folder, score, with_control=True, control=lambda image: image):
    """A scored run folder: `score(image, truth, brain)` beside plain brightness."""
    maps = {"own": folder / "prepared"}
    if with_control:
        maps["intensity"] = folder / "controls" / "intensity"
    for scan in cohort.scans:
        if scan.split == "train":
            continue
        image, inside = read_volume(scan.image), read_mask(scan.brain_mask)
        truth = read_mask(scan.lesion_mask) if scan.lesion_mask else np.zeros(inside.shape, bool)
        name = f"{scan.subject}_anomaly.nii.gz"
        write_volume(maps["own"] / name, score(image.array, truth, inside), image.affine)
        if with_control:
            write_volume(maps["intensity"] / name, control(image.array), image.affine)
    found = evaluate_maps(cohort, "T2w", maps, Postprocess([], HealthyThreshold(0.01), []))
    write_evaluation(found, folder, RunRecord(method="own"))
    record = {"method": "own", "sequence": "T2w", "cohort": cohort.identity()}
    (folder / "provenance.json").write_text(json.dumps(record))
    return folder


def _text(folder):
    page = render("trust.html", it=trust(read_run(folder)))
    return re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", page))


def test_a_method_that_is_brightness_is_named_so(cohort, tmp_path):
    text = _text(_run(cohort, tmp_path, lambda image, truth, b: image**2))
    assert "rank correlation with the intensity baseline's is 1.00" in text
    assert "mostly brightness" in text
    assert "no clear gain over brightness alone" in text


def test_a_method_that_knows_more_is_named_so(cohort, tmp_path):
    rng = np.random.default_rng(0)
    # The tiny lesion is bright, so the control has to be one that it beats.
    run = _run(
        cohort,
        tmp_path,
        lambda i, t, b: b * (t + 0.2 * rng.random(b.shape)),
        control=lambda image: np.where(image > 0, 1 - image, 0),
    )
    text = _text(run)
    assert "mostly brightness" not in text
    assert "higher in 8 of 8 subjects." in text
    # Eight lesions of 1.7 ml, 2 standard deviations up, all found.
    assert "8 of 8 (100%)" in text
    assert "Calibration of the healthy threshold" in text


@pytest.mark.slow
def test_a_method_below_brightness_is_named_so(cohort, tmp_path):
    text = _text(_run(cohort, tmp_path, lambda image, truth, b: b * (1 - image)))
    assert "worse than brightness alone" in text


def test_without_the_control_the_page_says_so(cohort, tmp_path):
    text = _text(_run(cohort, tmp_path, lambda i, t, b: i, with_control=False))
    assert "how much of the score is brightness is not known" in text


def test_healthy_subjects_that_trip_the_threshold_are_named(cohort, tmp_path):
    tripped = cohort.select("test", "T2w", healthy=True)[0]
    odd = read_volume(tripped.image).array

    def score(image, truth, inside):
        return image + (0.5 * inside if np.array_equal(image, odd) else 0)

    text = _text(_run(cohort, tmp_path, score))
    assert re.search(rf"more than 1% positive voxels .*{tripped.subject} \d", text)


def test_the_false_positive_picture_shows_what_is_there():
    shape = trust_checks.load_atlas().brain.shape
    nothing, spot = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    z = round((8 - trust_checks.load_atlas().affine[2, 3]) / 2)
    spot[40:56, 50:66, z] = 1
    first, second = (draw_false_positives({"own": array}) for array in (nothing, spot))
    assert first.width == second.width > 900
    assert first.jpeg != second.jpeg
    assert first.jpeg == draw_false_positives({"own": nothing}).jpeg


def test_plots_say_their_numbers_to_those_who_cannot_see_them():
    up, down = np.full((3, 100), 0.75), np.full((3, 100), 0.25)
    assert "a: 0.750; b: 0.250" in plots.bands({"a": up, "b": down})
    first, second = np.array([0.1, 0.5, np.nan]), np.array([0.2, 0.4, 1.0])
    assert "b is higher in 1 of 2, a in 1" in plots.paired(("a", "b"), first, second, "Dice")
    found = (np.array([0.01, 0.1]), np.array([[0.02, 0.3], [0.0, 0.1]]))
    assert "a: 0.0100 at 0.01" in plots.calibration({"a": found})
    assert "for a, b" in plots.against_volume({"a": [(0.1, 0.2)] * 7, "b": []})


def test_a_mean_over_other_subjects_says_of_how_many():
    one = Result("a", "all", "none", "auprc", 5, 0.5, 0.1, 0.4, 0.6)
    rows = [one, replace(one, method="b", n=4)]
    _, cells = summary_rows(rows, columns=[Column("AP", "all", "none", "auprc")])
    assert [cell[1].rpartition("] ")[2] for cell in cells] == ["(n = 5)", "(n = 4)"]
    same = [one, replace(one, method="b")]
    _, cells = summary_rows(same, columns=[Column("AP", "all", "none", "auprc")])
    assert "n =" not in cells[0][1]

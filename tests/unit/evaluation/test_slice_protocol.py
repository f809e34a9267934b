from dataclasses import replace

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter
from sklearn.metrics import average_precision_score, roc_auc_score
from test_maps import PLAIN, write_maps
from tiny import ROOT, SHAPE, lesion

from brainuad.errors import InputError
from brainuad.evaluation.slice_rules import best_of_thresholds
from brainuad.evaluation.slices import SliceProtocol, evaluate_slices
from brainuad.postprocess.pipeline import Postprocess
from brainuad.postprocess.scale import Clip
from brainuad.postprocess.smooth import Gaussian
from brainuad.postprocess.threshold import HealthyThreshold
from brainuad.reporting.tables import columns_of, summary_rows
from brainuad.settings.instantiate import RUN_PACKAGES, instantiate
from brainuad.volumes.nifti import read_mask, read_volume

GRID = SliceProtocol("grid", None, 0.0, False, "mean", (0.0, 1.0))
maps_of = arrays(np.float32, (2, 4, 5), elements=st.sampled_from([0, 0.25, 0.5, 0.505, 1]))
truths_of = arrays(bool, (2, 4, 5), elements=st.sampled_from([False, False, True]))


def reference(slices, limits):
    """As the released script of MAD-AD: every threshold, every slice, a copy each."""
    best = 0.0
    for threshold in np.linspace(*limits, 201):
        dices = []
        for score, truth in slices:
            for piece, label in zip(score, truth, strict=True):
                binary = np.zeros(piece.shape)
                binary[piece.astype(np.float64) > threshold] = 1
                if label.sum() == 0:
                    dices.append(float(binary.sum() == 0))
                else:
                    dices.append(2 * (binary * label).sum() / (binary.sum() + label.sum()))
        best = max(best, float(np.mean(dices)))
    return best


@settings(max_examples=60, deadline=None)
@given(slices=st.lists(st.tuples(maps_of, truths_of), min_size=1, max_size=3))
def test_best_of_201_is_the_released_loop(slices):
    found, threshold = best_of_thresholds(slices, (0.0, 1.0))
    assert found == pytest.approx(reference(slices, (0.0, 1.0)))
    assert threshold in np.linspace(0, 1, 201)


def rows(evaluation, method="own"):
    part = evaluation.scores[evaluation.scores.method == method]
    return dict(zip(part.metric, part.value, strict=True))


@pytest.fixture
def maps(tiny_cohort, tmp_path):
    return write_maps(tiny_cohort, tmp_path / "maps", lambda image, truth, brain: image)


def test_pixels_of_all_slices_are_pooled(tiny_cohort, maps):
    found = evaluate_slices(tiny_cohort, "T2w", {"own": maps}, PLAIN, GRID)
    score, truth = [], []
    for scan in tiny_cohort.select("test", "T2w"):
        kept = read_mask(scan.brain_mask).any(axis=(0, 1))
        label = np.zeros(SHAPE, bool) if scan.healthy else lesion()
        score.append(np.moveaxis(read_volume(scan.image).array, 2, 0)[kept])
        truth.append(np.moveaxis(label, 2, 0)[kept])
    flat, labels = np.concatenate(score).ravel(), np.concatenate(truth).ravel()
    values = rows(found)
    assert values["auprc_pooled"] == pytest.approx(average_precision_score(labels, flat))
    assert values["auroc_pooled"] == pytest.approx(roc_auc_score(labels, flat))
    expected = reference(list(zip(score, truth, strict=True)), (0, 1))
    assert values["dice_slice"] == pytest.approx(expected)
    assert values["slices"] == sum(map(len, score))
    assert set(found.scores.space) == {"slice:grid"}


SMOOTHED = Postprocess(
    [Clip(1.0), Gaussian(3.0, normalise=False, in_plane=True)], HealthyThreshold(), []
)


def unmasked(path, sigma):
    """evaluate-MAD-AD.py:99-104: clip, one plain Gaussian a slice; no mask anywhere."""
    slices = np.moveaxis(np.clip(read_volume(path).array, 0, 1), 2, 0)
    return np.stack([gaussian_filter(piece, sigma) for piece in slices])


def test_without_the_mask_scores_cross_the_brain_s_rim(tiny_cohort, tmp_path):
    def background(image, truth, brain):
        return np.where(brain, 0.2 * image, 0.7).astype(np.float32)

    maps = write_maps(tiny_cohort, tmp_path / "maps", background)
    score, truth = [], []
    for scan in tiny_cohort.select("test", "T2w"):
        kept = read_mask(scan.brain_mask).any(axis=(0, 1))
        path = maps / f"{scan.subject}_anomaly.nii.gz"
        spacing = read_volume(path).spacing_mm
        score.append(unmasked(path, [3.0 / edge for edge in spacing[:2]])[kept])
        label = np.zeros(SHAPE, bool) if scan.healthy else lesion()
        truth.append(np.moveaxis(label, 2, 0)[kept])
    flat, labels = np.concatenate(score).ravel(), np.concatenate(truth).ravel()
    found = {
        masked: rows(
            evaluate_slices(
                *(tiny_cohort, "T2w", {"own": maps}, SMOOTHED), replace(GRID, masked=masked)
            )
        )
        for masked in (True, False)
    }
    expected = roc_auc_score(labels, flat)
    assert found[False]["auroc_pooled"] == pytest.approx(expected, abs=1e-6)
    # Bright background is behind the mask otherwise.
    assert found[True]["auroc_pooled"] > expected + 0.2


def test_the_choice_of_slices(tiny_cohort, maps):
    only = SliceProtocol("only", None, 0.0, True, "pooled", None)
    found = evaluate_slices(tiny_cohort, "T2w", {"own": maps}, PLAIN, only)
    # Two subjects of four slices with lesion.
    assert rows(found)["slices"] == 8
    assert "dice_slice" not in rows(found)
    most = SliceProtocol("most", None, 0.99, False, "mean", None)
    assert rows(evaluate_slices(tiny_cohort, "T2w", {"own": maps}, PLAIN, most))["slices"] <= 12


PAPERS = ["slice_bmad", "slice_itermask", "slice_madad", "slice_medianomaly", "slice_unitransad"]


def test_every_preset_is_tested():
    files = (ROOT / "configs" / "protocol").glob("slice_*.yaml")
    assert sorted(path.stem for path in files) == PAPERS


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_protocols_give_a_table_of_their_own(tiny_cohort, tmp_path, name):
    config = yaml.safe_load((ROOT / "configs" / "protocol" / f"{name}.yaml").read_text())["slices"]
    protocol = instantiate(config, packages=RUN_PACKAGES)
    perfect = write_maps(tiny_cohort, tmp_path / "p", lambda i, t, b: t.astype(np.float32))
    found = evaluate_slices(tiny_cohort, "T2w", {"own": perfect}, PLAIN, protocol)
    values = rows(found)
    # A bilinear map and a nearest label differ at the lesion's edge alone.
    assert values["auprc_pooled"] > 0.95
    exact = found.scores[found.scores.threshold == "oracle"].set_index("metric").value
    assert exact["dice_pooled"] > 0.9
    # Where every slice has a lesion, none stands against them.
    assert values["slice_auroc"] == 1 or name == "slice_itermask"
    header, cells = summary_rows(found.summary, columns=columns_of(f"slice:{protocol.name}"))
    assert "AP, all pixels" in header
    assert "Dice, healthy threshold" not in header
    assert cells[0][header.index("AP, all pixels")] != "–"


def test_failures_and_refusals(tiny_cohort, maps, tmp_path):
    subject = tiny_cohort.select("test", "T2w")[-1].subject
    (maps / f"{subject}_anomaly.nii.gz").unlink()
    found = evaluate_slices(tiny_cohort, "T2w", {"own": maps, "other": tmp_path}, PLAIN, GRID)
    assert subject in [name for name, _ in found.failures]
    assert "(other)" in [name for name, _ in found.failures]
    assert set(found.scores.method) == {"own"}
    with pytest.raises(InputError, match="no slice could be scored"):
        evaluate_slices(tiny_cohort, "T2w", {"own": tmp_path}, PLAIN, GRID)
    with pytest.raises(InputError, match="were trained on"):
        evaluate_slices(tiny_cohort, "T2w", {"own": maps}, PLAIN, GRID, trained_on=[subject])
    with pytest.raises(ValueError, match="dice is 'best'"):
        SliceProtocol("x", None, 0, False, "best", None)

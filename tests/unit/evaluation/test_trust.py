from functools import partial

import numpy as np
import pytest
from nibabel.affines import apply_affine
from test_maps import PLAIN, values, write_maps
from tiny import brain, lesion, write_tiny_cohort

from brainuad.evaluation import trust_checks
from brainuad.evaluation.maps import evaluate_maps
from brainuad.evaluation.results import write_evaluation
from brainuad.records.run import RunRecord
from brainuad.volumes.nifti import read_volume


def test_the_atlas_has_every_region_where_it_belongs():
    atlas = trust_checks.load_atlas()
    assert not atlas.regions[~atlas.brain].any()
    volumes = np.bincount(atlas.regions.ravel())[1:] * trust_checks.SPACING_MM**3 / 1000
    sizes = dict(zip(trust_checks.REGIONS, volumes, strict=True))
    # ml, of an average adult.
    assert 5 < sizes["ventricles"] < 60
    assert 20 < sizes["deep_grey"] < 300  # The insula and other deep cortex count too.
    assert sizes["white"] > 300
    assert sizes["cortex"] > 300
    for point, name in (((-24, -18, 34), "white"), ((12, 10, 10), "deep_grey")):
        index = np.rint(np.linalg.inv(atlas.affine) @ [*point, 1])[:3].astype(int)
        assert atlas.regions[tuple(index)] == trust_checks.REGIONS.index(name) + 1


def test_the_identity_for_a_scan_on_the_atlas():
    atlas = trust_checks.load_atlas()
    mask = atlas.brain & (np.indices(atlas.brain.shape)[0] < 40)
    found = trust_checks.on_atlas(
        mask, atlas.box, partial(apply_affine, np.linalg.inv(atlas.affine))
    )
    assert np.array_equal(found, mask)


@pytest.mark.parametrize("flip", [1, -1])
def test_a_larger_head_in_another_orientation_comes_to_lie_on_the_atlas(flip):
    atlas = trust_checks.load_atlas()
    # The same brain, 1.2 times as large and moved, stored in the other direction along x.
    scale = np.diag([1.2, 1.2, 1.2, 1.0])
    scale[:3, 3] = [10, -20, 5]
    world = scale @ atlas.affine
    stored = world @ np.diag([flip, 1, 1, 1.0])
    right = atlas.brain & (np.indices(atlas.brain.shape)[0] < 40)
    array = right
    if flip < 0:
        stored[:3, 3] = (world @ [atlas.brain.shape[0] - 1, 0, 0, 1])[:3]
        array = right[::-1]
    box = trust_checks.world_box(atlas.brain, world)
    found = trust_checks.on_atlas(array, box, partial(apply_affine, np.linalg.inv(stored)))
    assert np.array_equal(found, right)


def test_a_slab_is_no_whole_brain():
    atlas = trust_checks.load_atlas()
    box = atlas.box.copy()
    box[1, 2] = box[0, 2] + 10
    assert (
        trust_checks.on_atlas(atlas.brain, box, partial(apply_affine, np.linalg.inv(atlas.affine)))
        is None
    )


def test_region_rates_by_hand():
    atlas = trust_checks.load_atlas()
    rates = trust_checks.region_rates(atlas.regions == trust_checks.REGIONS.index("ventricles") + 1)
    assert rates.pop("fp_ventricles") == 1
    assert set(rates.values()) == {0}
    white = np.argwhere(atlas.regions == trust_checks.REGIONS.index("white") + 1)
    half = np.zeros(atlas.brain.shape, bool)
    half[tuple(white[: len(white) // 2].T)] = True
    assert trust_checks.region_rates(half)["fp_white"] == pytest.approx(0.5, abs=1e-4)


def test_false_positives_are_averaged_over_subjects():
    total = trust_checks.FalsePositives()
    one = np.zeros(trust_checks.load_atlas().brain.shape, bool)
    one[40, 50, 40] = True
    total.add(one)
    total.add(np.zeros_like(one))
    assert total.mean()[40, 50, 40] == 0.5
    assert total.mean().sum() == 0.5


def test_lesion_rows_by_hand():
    truth = np.zeros((10, 10, 10), bool)
    truth[1:3, 1:3, 1:3] = True
    truth[6:8, 6:8, 6] = True
    segmentation = truth.copy()
    segmentation[6:8, 6:8, 6] = False
    brain_mask = np.ones_like(truth)
    image = np.random.default_rng(0).normal(5, 2, truth.shape)
    image[1:3, 1:3, 1:3] = 9
    found = trust_checks.lesion_rows(segmentation, truth, image, brain_mask, (1.0, 2.0, 5.0))
    assert [row["volume_ml"] for row in found] == pytest.approx([0.08, 0.04])
    assert [row["covered"] for row in found] == [1, 0]
    assert [row["found"] for row in found] == [1, 0]
    rest = image[~truth]
    assert found[0]["contrast"] == pytest.approx((9 - rest.mean()) / rest.std())
    whole = trust_checks.contrast(image, truth, ~truth)
    assert whole == pytest.approx((image[truth].mean() - rest.mean()) / rest.std())
    assert np.isnan(trust_checks.contrast(np.ones_like(image), truth, ~truth))


def test_a_method_that_is_brightness_is_exposed(tmp_path):
    cohort = write_tiny_cohort(tmp_path / "cohort", test=2, sick=2)
    intensity = write_maps(cohort, tmp_path / "i", lambda image, truth, b: image)
    # A monotone transform of brightness, and a map that knows the lesion.
    bright = write_maps(cohort, tmp_path / "b", lambda image, truth, b: image**3)
    rng = np.random.default_rng(0)
    honest = write_maps(
        cohort, tmp_path / "h", lambda image, truth, b: b * (truth + 0.1 * rng.random(b.shape))
    )
    maps = {"bright": bright, "honest": honest, "intensity": intensity}
    found = evaluate_maps(cohort, "T2w", maps, PLAIN)
    rho = values(found, "intensity_rho", method="bright")
    assert len(rho) == 4
    assert min(rho.values()) == pytest.approx(1)
    assert values(found, "ap_gain", method="bright") == pytest.approx(
        dict.fromkeys(values(found, "ap_gain", method="bright"), 0.0)
    )
    assert max(abs(r) for r in values(found, "intensity_rho", method="honest").values()) < 0.2
    own = values(found, "auprc", method="honest")
    base = values(found, "auprc", method="intensity")
    for subject, gain in values(found, "ap_gain", method="honest").items():
        assert gain == pytest.approx(own[subject] - base[subject])
    assert not values(found, "intensity_rho", method="intensity")


def test_calibration_is_the_share_above_the_fitted_threshold(tiny_cohort, tmp_path):
    maps = write_maps(tiny_cohort, tmp_path / "m", lambda image, truth, b: image)
    found = evaluate_maps(tiny_cohort, "T2w", {"own": maps}, PLAIN)
    alphas = found.curves["own/calibration_alpha"]
    shares = found.curves["own/calibration_fpr"]
    assert shares.shape == (1, len(alphas))
    scan = tiny_cohort.select("test", "T2w", healthy=True)[0]
    inside = read_volume(scan.image).array[read_volume(scan.brain_mask).array > 0]
    at = list(alphas).index(0.01)
    assert shares[0, at] == pytest.approx((inside > found.thresholds["own"]).mean())
    assert (np.diff(shares[0]) >= 0).all()


def test_files_of_the_trust_checks(tiny_cohort, tmp_path):
    """The tiny brain is the size of no brain, so its false positives are not mapped."""
    maps = write_maps(tiny_cohort, tmp_path / "m", lambda image, truth, b: image)
    found = evaluate_maps(tiny_cohort, "T2w", {"own": maps}, PLAIN)
    assert found.context["whole_brains"] in (0, 3)
    write_evaluation(found, tmp_path / "run", RunRecord())
    lesions = (tmp_path / "run" / "lesions.csv").read_text().splitlines()
    assert lesions[0] == "subject,method,pathology,lesion,volume_ml,contrast,covered,found"
    assert len(lesions) == 3
    assert ",box,1,1.728," in lesions[1]


def test_contrast_is_measured_where_the_manifest_does_not_know_it(tmp_path):
    from dataclasses import replace

    from brainuad.cohorts.manifest import write_cohort

    tiny = write_tiny_cohort(tmp_path / "c")
    scans = [replace(scan, contrast=None) for scan in tiny.scans]
    cohort = write_cohort(tiny.root, scans, {})
    maps = write_maps(cohort, tmp_path / "m", lambda image, truth, b: image)
    found = evaluate_maps(cohort, "T2w", {"own": maps}, PLAIN)
    part = found.scores[found.scores.metric == "auprc"]
    image, inside = brain(6)
    image = np.clip(image + 0.4 * lesion(), 0, 1)
    rest = image[inside & ~lesion()]
    expected = (image[lesion()].mean() - rest.mean()) / rest.std()
    assert part.contrast.iloc[0] == pytest.approx(expected, rel=1e-4)

import gzip
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import AFFINE, lesion, write_tiny_cohort

from brainuad.cohorts.manifest import write_cohort
from brainuad.cohorts.map_folder import MapFolder
from brainuad.errors import InputError
from brainuad.evaluation.maps import evaluate_maps
from brainuad.evaluation.results import COLUMNS, POOLED, write_evaluation
from brainuad.evaluation.score_maps import ScoreMaps
from brainuad.evaluation.thresholds import fit_thresholds
from brainuad.metrics import voxel
from brainuad.postprocess.components import RemoveSmall
from brainuad.postprocess.erode import ErodeBrainMask
from brainuad.postprocess.pipeline import Postprocess
from brainuad.postprocess.scale import Sign
from brainuad.postprocess.smooth import Median
from brainuad.postprocess.threshold import HealthyThreshold
from brainuad.records.run import RunRecord
from brainuad.volumes.nifti import read_mask, read_volume, write_volume

PLAIN = Postprocess([], HealthyThreshold(0.01), [])


def write_maps(cohort, folder, score):
    """Maps of every val and test scan: `score(image, truth, brain)`."""
    for scan in cohort.scans:
        if scan.split != "train":
            image = read_volume(scan.image)
            truth = np.zeros(image.array.shape, bool)
            if scan.lesion_mask:
                truth = read_mask(scan.lesion_mask)
            found = score(image.array, truth, read_mask(scan.brain_mask))
            write_volume(folder / f"{scan.subject}_anomaly.nii.gz", found, image.affine)
    return folder


@pytest.fixture
def maps(tiny_cohort, tmp_path):
    """The image itself is the score: the lesion is brighter than most of the brain."""
    return write_maps(tiny_cohort, tmp_path / "maps", lambda image, truth, brain: image)


def values(evaluation, metric, threshold="none", method="own"):
    part = evaluation.scores
    part = part[(part.metric == metric) & (part.threshold == threshold) & (part.method == method)]
    return dict(zip(part.subject, part.value, strict=True))


def test_scores_equal_the_metrics_of_the_voxels(tiny_cohort, maps):
    found = evaluate_maps(tiny_cohort, "T2w", {"own": maps}, PLAIN)
    assert tuple(found.scores.columns) == COLUMNS
    for scan in tiny_cohort.select("test", "T2w", healthy=False):
        brain = read_mask(scan.brain_mask)
        score, truth = read_volume(scan.image).array[brain], lesion()[brain]
        assert values(found, "auprc")[scan.subject] == voxel.average_precision(score, truth)
        assert values(found, "auroc")[scan.subject] == voxel.auroc(score, truth)
        best = voxel.best_dice(score, truth)[0]
        assert values(found, "dice", "oracle_subject")[scan.subject] == best
        segmentation = score > found.thresholds["own"]
        assert values(found, "dice", "healthy")[scan.subject] == voxel.dice(segmentation, truth)
        assert values(found, "lesion_ml")[scan.subject] == pytest.approx(64 * 27 / 1000)
    healthy = tiny_cohort.select("test", "T2w", healthy=True)[0].subject
    assert set(values(found, "fpr_healthy", "healthy")) == {healthy}
    assert 0 <= values(found, "fpr_healthy", "healthy")[healthy] < 0.05
    assert set(values(found, "subject_auroc")) == {POOLED}


def test_every_threshold_value_gives_its_dice(tiny_cohort, maps):
    found = evaluate_maps(tiny_cohort, "T2w", {"own": maps}, PLAIN)
    rows = found.scores[found.scores.metric == "dice"]
    assert {"healthy", "scan", "mebin", "otsu", "oracle", "oracle_subject"} == set(rows.threshold)
    for row in rows.itertuples():
        scan = next(s for s in tiny_cohort.scans if s.subject == row.subject)
        image = read_volume(maps / f"{row.subject}_anomaly.nii.gz")
        brain = read_mask(scan.brain_mask)
        truth = read_mask(scan.lesion_mask) if scan.lesion_mask else np.zeros_like(brain)
        mask = PLAIN.segment(image.array, brain, image.spacing_mm, row.threshold_value)
        assert row.value == pytest.approx(voxel.dice(mask, truth))


def test_the_threshold_is_of_the_healthy_validation_voxels(tiny_cohort, maps):
    pooled = np.concatenate(
        [
            read_volume(scan.image).array[read_mask(scan.brain_mask)]
            for scan in tiny_cohort.select("val", "T2w")
        ]
    )
    fitted, failures = fit_thresholds(tiny_cohort, "T2w", ScoreMaps(MapFolder(maps), PLAIN))
    assert fitted.healthy == HealthyThreshold(0.01).fit([pooled])
    assert not failures
    given = evaluate_maps(tiny_cohort, "T2w", {"own": maps}, PLAIN, thresholds={"own": 0.5})
    assert given.thresholds == {"own": 0.5}
    assert (given.scores[given.scores.threshold == "healthy"].threshold_value == 0.5).all()


def test_a_perfect_map_scores_one_and_an_empty_one_zero(tiny_cohort, tmp_path):
    perfect = write_maps(tiny_cohort, tmp_path / "p", lambda i, t, b: t.astype(np.float32))
    empty = write_maps(tiny_cohort, tmp_path / "e", lambda i, t, b: 0 * i)
    given = {"own": 0.5, "empty": 0.5}
    maps = {"own": perfect, "empty": empty}
    found = evaluate_maps(tiny_cohort, "T2w", maps, PLAIN, thresholds=given)
    for metric, threshold in (("auprc", "none"), ("auroc", "none"), ("dice", "oracle")):
        assert set(values(found, metric, threshold).values()) == {1.0}
    sick = {s.subject for s in tiny_cohort.select("test", "T2w", healthy=False)}
    dice = values(found, "dice", "healthy", "empty")
    # Truth but no mask is 0, neither is 1.
    assert {dice[s] for s in sick} == {0.0}
    assert {dice[s] for s in set(dice) - sick} == {1.0}
    assert values(found, "auprc_pooled")[POOLED] == 1
    assert values(found, "subject_auroc")[POOLED] == 1


def test_healthy_maps_of_one_score_have_no_threshold(tiny_cohort, maps, tmp_path):
    """A perfect reconstruction's maps are 0 in healthy brains; 0 would mark every rounding."""
    rounding = 1e-7 * np.random.default_rng(0).random(lesion().shape)
    perfect = write_maps(
        tiny_cohort, tmp_path / "p", lambda i, t, b: b * (t + t.any() * rounding).astype(np.float32)
    )
    found = evaluate_maps(tiny_cohort, "T2w", {"own": maps, "perfect": perfect}, PLAIN)
    assert set(values(found, "auroc", method="perfect").values()) == {1.0}
    assert set(values(found, "dice", "oracle", "perfect").values()) == {1.0}
    for threshold in ("healthy", "scan", "mebin"):
        for metric in ("dice", "lesion_f1", "fpr_healthy"):
            undefined = values(found, metric, threshold, "perfect").values()
            assert undefined
            assert np.isnan(list(undefined)).all()
    assert np.isnan(found.thresholds["perfect"])
    assert found.thresholds["own"] > 0
    # Nor is any lesion missed: nobody looked.
    assert set(found.lesions.method) == {"own"}
    assert "perfect" not in found.false_positives
    rows = {(r.method, *r.key): r for r in found.summary}
    assert rows["perfect", "all", "healthy", "dice"].n == 0
    assert rows["perfect", "all", "healthy", "dice"].undefined == 2
    write_evaluation(found, tmp_path / "out", RunRecord())
    assert json.loads((tmp_path / "out/summary.json").read_text())["thresholds"]["perfect"] is None


def test_few_scores_above_the_lowest_still_have_a_threshold(tiny_cohort, tmp_path):
    """Masks of another program are maps too: half a percent of healthy brain is marked."""

    def mask(image, truth, brain):
        found = truth.copy()
        found[tuple(np.argwhere(brain)[::200].T)] = True
        return found.astype(np.float32)

    maps = write_maps(tiny_cohort, tmp_path / "masks", mask)
    found = evaluate_maps(tiny_cohort, "T2w", {"own": maps}, PLAIN)
    assert found.thresholds["own"] == 0
    assert min(values(found, "dice", "healthy").values()) == 0  # of the healthy subject
    assert max(values(found, "dice", "healthy").values()) > 0.5


def test_a_methods_own_threshold(tiny_cohort, maps):
    found = evaluate_maps(
        tiny_cohort, "T2w", {"own": maps, "other": maps}, PLAIN, fixed={"own": 0.5}
    )
    rows = found.scores[found.scores.threshold == "fixed"]
    assert set(rows.method) == {"own"}
    assert set(rows.threshold_value) == {0.5}
    for scan in tiny_cohort.select("test", "T2w", healthy=False):
        brain = read_mask(scan.brain_mask)
        score, truth = read_volume(scan.image).array[brain], lesion()[brain]
        expected = voxel.dice(score > 0.5, truth)
        assert values(found, "dice", "fixed")[scan.subject] == expected
    # It needs no healthy scan and changes nothing else.
    alone = evaluate_maps(tiny_cohort, "T2w", {"own": maps}, PLAIN)
    assert values(alone, "dice", "scan") == values(found, "dice", "scan")
    assert not values(alone, "dice", "fixed")


def test_the_scan_threshold_is_of_each_scan(tiny_cohort, tmp_path):
    """Other gains and offsets of test scans: masks by `scan` stay, those by `healthy` do not."""
    rng = np.random.default_rng(0)
    noise = rng.gamma(1.0, 0.1, lesion().shape)

    def write(folder, gain, offset):
        folder = write_maps(
            tiny_cohort, tmp_path / folder, lambda i, t, b: b * (noise + 2 * t).astype(np.float32)
        )
        for scan in tiny_cohort.select("test", "T2w"):
            path, brain = folder / f"{scan.subject}_anomaly.nii.gz", read_mask(scan.brain_mask)
            volume = read_volume(path)
            write_volume(path, np.where(brain, gain * volume.array + offset, 0), volume.affine)
        return folder

    plain, moved = write("plain", 1.0, 0.0), write("moved", 4.0, 0.5)
    found = evaluate_maps(tiny_cohort, "T2w", {"own": plain, "moved": moved}, PLAIN)
    before, after = (values(found, "dice", "scan", method) for method in ("own", "moved"))
    assert after == pytest.approx(before, abs=0.02)
    rows = found.scores[(found.scores.threshold == "scan") & (found.scores.metric == "dice")]
    limits = [rows[rows.method == method].threshold_value for method in ("own", "moved")]
    np.testing.assert_allclose(limits[1], 4 * limits[0].to_numpy() + 0.5, rtol=1e-5)
    promise = values(found, "fpr_healthy", "scan", "moved")
    assert 0 < next(iter(promise.values())) < 0.02
    assert next(iter(values(found, "fpr_healthy", "healthy", "moved").values())) > 0.1


def test_pooled_scores_are_over_all_test_subjects(tiny_cohort, tmp_path):
    rng = np.random.default_rng(0)
    maps = write_maps(
        tiny_cohort, tmp_path / "noise", lambda i, t, b: b * (0.5 * t + rng.random(b.shape))
    )
    parts = []
    for scan in tiny_cohort.select("test", "T2w"):
        brain = read_mask(scan.brain_mask)
        truth = read_mask(scan.lesion_mask) if scan.lesion_mask else np.zeros_like(brain)
        score = read_volume(maps / f"{scan.subject}_anomaly.nii.gz").array
        parts.append((score[brain], truth[brain]))
    score, truth = (np.concatenate(part) for part in zip(*parts, strict=True))
    found = evaluate_maps(tiny_cohort, "T2w", {"own": maps}, PLAIN)
    expected = voxel.average_precision(score, truth), voxel.auroc(score, truth)
    assert values(found, "auprc_pooled")[POOLED] == pytest.approx(expected[0])
    assert values(found, "auroc_pooled")[POOLED] == pytest.approx(expected[1])


def test_the_companions_of_a_perfect_map(tiny_cohort, tmp_path):
    perfect = write_maps(tiny_cohort, tmp_path / "p", lambda i, t, b: t.astype(np.float32))
    found = evaluate_maps(tiny_cohort, "T2w", {"own": perfect}, PLAIN, thresholds={"own": 0.5})
    expected = {"lesion_sensitivity": 1, "lesion_precision": 1, "lesion_f1": 1}
    expected |= {"hd95_mm": 0, "assd_mm": 0, "fp_per_volume": 0}
    for metric, value in expected.items():
        assert set(values(found, metric, "healthy").values()) == {value}
    assert set(values(found, "pro").values()) == {1.0}
    # Two lesions of one size and a healthy brain: both pairs of different burden are in order.
    assert values(found, "severity_c_index")[POOLED] == 1
    assert values(found, "severity_rho")[POOLED] == pytest.approx(1)


def test_reconstruction_quality_is_of_healthy_scans(tiny_cohort, maps):
    for scan in tiny_cohort.select("test", "T2w"):
        image = read_volume(scan.image)
        shifted = np.where(image.array > 0, image.array - 0.125, 0)
        write_volume(maps / f"{scan.subject}_reconstruction.nii.gz", shifted, image.affine)
    found = evaluate_maps(tiny_cohort, "T2w", {"own": maps}, PLAIN)
    healthy = {s.subject for s in tiny_cohort.select("test", "T2w", healthy=True)}
    assert set(values(found, "recon_l1")) == set(values(found, "recon_ssim")) == healthy
    assert list(values(found, "recon_l1").values()) == pytest.approx([0.125], abs=1e-3)
    assert 0 < next(iter(values(found, "recon_ssim").values())) < 1


def test_labelled_validation_subjects_give_a_threshold_of_their_own(tiny_cohort, maps):
    scans = list(tiny_cohort.scans)
    scans[-1] = replace(scans[-1], split="val")
    cohort = write_cohort(tiny_cohort.root, scans, {})
    found = evaluate_maps(cohort, "T2w", {"own": maps}, PLAIN)
    threshold = found.scores[found.scores.threshold == "labelled_val"].threshold_value.unique()
    brain = read_mask(scans[-1].brain_mask)
    score, truth = read_volume(scans[-1].image).array[brain], lesion()[brain]
    assert voxel.dice(score > threshold, truth) == pytest.approx(voxel.best_dice(score, truth)[0])
    assert set(values(found, "dice", "labelled_val")) == set(values(found, "dice", "healthy"))


def test_the_protocols_groups(tiny_cohort, maps):
    scans = list(tiny_cohort.scans)
    write_volume(scans[-1].lesion_mask, np.zeros_like(lesion()), AFFINE, np.uint8)
    scans[-2] = replace(scans[-2], contrast=0.1)
    cohort = write_cohort(tiny_cohort.root, scans, tiny_cohort.info)
    found = evaluate_maps(cohort, "T2w", {"own": maps}, PLAIN)
    rows = {r.key: r for r in found.summary}
    assert rows["all", "healthy", "dice"].n == 1
    assert rows["box", "none", "auprc"].n == 1
    assert rows["iso", "none", "auprc"].n == 1
    assert rows["no lesion", "none", "auprc"].undefined == 1
    assert rows["healthy", "healthy", "fpr_healthy"].n == 1
    assert ("bright", "none", "auprc") not in rows


def test_native_space_is_the_labels_own(tiny_cohort, maps, tmp_path):
    """The native scan is twice as fine and flipped; its label is the one that counts."""
    scans = []
    for scan in tiny_cohort.scans:
        if scan.healthy:
            scans.append(scan)
            continue
        native = AFFINE @ np.diag([-0.5, 0.5, 0.5, 1.0])
        native[:3, 3] = [3 * 23.25, -0.75, -0.75]
        paths = tmp_path / f"{scan.subject}.nii.gz", tmp_path / f"{scan.subject}_l.nii.gz"
        image = read_volume(scan.image).array
        for path, array in zip(paths, (image, lesion()), strict=True):
            fine = array.repeat(2, 0).repeat(2, 1).repeat(2, 2)[::-1]
            write_volume(path, fine, native)
        scans.append(replace(scan, native_image=paths[0], native_lesion_mask=paths[1]))
    cohort = write_cohort(tmp_path / "native", scans, {})
    perfect = write_maps(cohort, tmp_path / "p", lambda i, t, b: t.astype(np.float32))
    found = evaluate_maps(cohort, "T2w", {"own": perfect}, PLAIN, thresholds={"own": 0.5})
    assert min(values(found, "auroc").values()) == pytest.approx(1, abs=1e-3)
    sick = {s.subject for s in cohort.select("test", "T2w", healthy=False)}
    dice = values(found, "dice", "healthy")
    assert min(dice[s] for s in sick) > 0.97
    assert values(found, "lesion_ml")[min(sick)] == pytest.approx(64 * 27 / 1000)
    prepared = evaluate_maps(cohort, "T2w", {"own": perfect}, PLAIN, space="prepared")
    assert set(prepared.scores.space) == {"prepared"}
    with pytest.raises(InputError, match="use native or prepared"):
        evaluate_maps(cohort, "T2w", {"own": perfect}, PLAIN, space="mni")


def _missing(path):
    path.unlink()


def _other_grid(path):
    write_volume(path, np.zeros((3, 3, 3)), AFFINE)


def _nan(path):
    volume = read_volume(path)
    volume.array[0, 0, 0] = np.nan
    write_volume(path, volume.array, AFFINE)


def _negative(path):
    write_volume(path, read_volume(path).array - 1, AFFINE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_missing, "no such file"),
        (_other_grid, "found grid"),
        (_nan, "1 NaN"),
        (_negative, "negative scores"),
    ],
)
@pytest.mark.parametrize("split", ["val", "test"])
def test_a_bad_map_is_listed_and_the_rest_is_scored(tiny_cohort, maps, damage, words, split):
    subject = tiny_cohort.select(split, "T2w")[-1].subject
    damage(maps / f"{subject}_anomaly.nii.gz")
    found = evaluate_maps(tiny_cohort, "T2w", {"own": maps}, PLAIN)
    assert [name for name, _ in found.failures] == [subject]
    assert words in found.failures[0][1]
    assert found.failures[0][1].startswith(f"{maps / subject}_anomaly.nii.gz: ")
    assert len(values(found, "auprc")) == (1 if split == "test" else 2)


def test_a_lesion_without_a_label_is_listed(tiny_cohort, maps):
    scans = list(tiny_cohort.scans)
    scans[-1] = replace(scans[-1], lesion_mask=None)
    cohort = write_cohort(tiny_cohort.root, scans, {})
    found = evaluate_maps(cohort, "T2w", {"own": maps}, PLAIN)
    assert "without a lesion mask" in found.failures[0][1]


def test_two_maps_of_one_subject_are_a_question(tiny_cohort, maps):
    subject = tiny_cohort.select("test", "T2w")[-1].subject
    path = maps / f"{subject}_anomaly.nii.gz"
    plain = maps / f"{subject}_anomaly.nii"
    plain.write_bytes(gzip.decompress(path.read_bytes()))
    found = evaluate_maps(tiny_cohort, "T2w", {"own": maps}, PLAIN)
    assert "keep one map per subject" in found.failures[0][1]
    path.unlink()
    assert not evaluate_maps(tiny_cohort, "T2w", {"own": maps}, PLAIN).failures


def test_a_label_that_is_none_is_listed_and_classes_are_merged(tiny_cohort, maps):
    sick = tiny_cohort.select("test", "T2w", healthy=False)
    write_volume(sick[0].lesion_mask, lesion() * 0.4, AFFINE)
    classes = lesion().astype(float)
    classes[classes > 0] = np.arange(64) % 3 + 1
    write_volume(sick[1].lesion_mask, classes, AFFINE)
    found = evaluate_maps(tiny_cohort, "T2w", {"own": maps}, PLAIN)
    assert [name for name, _ in found.failures] == [sick[0].subject]
    assert "holds 0.4, a label holds whole numbers" in found.failures[0][1]
    assert values(found, "lesion_ml")[sick[1].subject] == pytest.approx(64 * 27 / 1000)


def test_a_constant_map_is_scored_at_chance(tiny_cohort, tmp_path):
    flat = write_maps(tiny_cohort, tmp_path / "flat", lambda i, t, b: 0.5 * b)
    found = evaluate_maps(tiny_cohort, "T2w", {"own": flat}, PLAIN)
    assert not found.failures
    assert set(values(found, "auroc").values()) == {0.5}
    for scan in tiny_cohort.select("test", "T2w", healthy=False):
        share = lesion()[read_mask(scan.brain_mask)].mean()
        assert values(found, "auprc")[scan.subject] == pytest.approx(share)
        assert np.isnan(values(found, "dice", "healthy")[scan.subject])


def test_maps_with_a_sign_need_a_chain_that_takes_them(tiny_cohort, tmp_path):
    signed = write_maps(tiny_cohort, tmp_path / "s", lambda i, t, b: b * (t - 0.5))
    chain = Postprocess([Sign("positive")], HealthyThreshold(0.01), [])
    found = evaluate_maps(tiny_cohort, "T2w", {"own": signed}, chain)
    assert set(values(found, "auprc").values()) == {1.0}


@pytest.mark.slow
@settings(max_examples=5, deadline=None)
@given(width=st.integers(1, 4), seed=st.integers(0, 9))
def test_background_around_and_the_order_of_subjects_change_nothing(tmp_path_factory, width, seed):
    base = tmp_path_factory.mktemp("padded")
    plain = write_tiny_cohort(base / "plain")
    rng = np.random.default_rng(seed)
    maps = write_maps(plain, base / "maps", lambda i, t, b: b * rng.random(b.shape) * (1 + t))
    scans = []
    for scan in plain.scans:
        paths = {}
        for name in ("image", "brain_mask", "lesion_mask"):
            if getattr(scan, name):
                paths[name] = _padded(getattr(scan, name), base / "pad", width)
        _padded(maps / f"{scan.subject}_anomaly.nii.gz", base / "padmaps", width)
        scans.append(replace(scan, twin=None, **paths))
    order = rng.permutation(len(scans))
    padded = write_cohort(base / "pad", [scans[i] for i in order], {"name": "tiny"})
    chain = Postprocess(
        [Median(9.0), ErodeBrainMask(3.0)], HealthyThreshold(0.01), [RemoveSmall(54.0)]
    )
    first = evaluate_maps(plain, "T2w", {"own": maps}, chain)
    second = evaluate_maps(padded, "T2w", {"own": base / "padmaps"}, chain)
    keys = ["subject", "threshold", "metric"]
    left, right = (e.scores.set_index(keys).value.sort_index() for e in (first, second))
    assert left.index.equals(right.index)
    assert right.to_numpy() == pytest.approx(left.to_numpy(), nan_ok=True)


def _padded(path, folder, width):
    """The volume with `width` empty voxels around, where it was in the world."""
    if not path.is_file():
        return None
    volume = read_volume(path)
    affine = volume.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ [width, width, width]
    write_volume(folder / path.name, np.pad(volume.array, width), affine)
    return folder / path.name


def test_a_control_without_maps_takes_only_its_own_rows(tiny_cohort, maps, tmp_path):
    found = evaluate_maps(tiny_cohort, "T2w", {"own": maps, "control": tmp_path}, PLAIN)
    assert set(found.scores.method) == {"own"}
    assert [name for name, _ in found.failures] == ["(control)"]


def test_nothing_to_score_is_an_error(tiny_cohort, tmp_path, maps):
    with pytest.raises(InputError, match="no healthy validation map could be read"):
        evaluate_maps(tiny_cohort, "T2w", {"own": tmp_path}, PLAIN)
    with pytest.raises(InputError, match="no map could be scored"):
        evaluate_maps(tiny_cohort, "T2w", {"own": tmp_path}, PLAIN, thresholds={"own": 1})
    with pytest.raises(InputError, match="no T1w scan in split 'test'"):
        evaluate_maps(tiny_cohort, "T1w", {"own": maps}, PLAIN)


def test_each_methods_failure_is_listed_once(tiny_cohort, tmp_path, maps):
    subject = tiny_cohort.select("test", "T2w")[-1].subject
    control = write_maps(tiny_cohort, tmp_path / "control", lambda i, t, b: i)
    _missing(maps / f"{subject}_anomaly.nii.gz")
    _nan(control / f"{subject}_anomaly.nii.gz")
    found = evaluate_maps(tiny_cohort, "T2w", {"own": maps, "control": control}, PLAIN)
    assert [name for name, _ in found.failures] == [subject, subject]
    assert "no such file" in found.failures[0][1]
    assert "1 NaN" in found.failures[1][1]


def test_a_native_scan_elsewhere_is_listed_and_the_rest_is_scored(tiny_cohort, maps, tmp_path):
    scans, far = list(tiny_cohort.scans), AFFINE.copy()
    far[:3, 3] = 1000
    path = tmp_path / "far.nii.gz"
    write_volume(path, read_volume(scans[-1].image).array, far)
    scans[-1] = replace(scans[-1], native_image=path, native_lesion_mask=path)
    cohort = write_cohort(tiny_cohort.root, scans, {})
    found = evaluate_maps(cohort, "T2w", {"own": maps}, PLAIN)
    assert [name for name, _ in found.failures] == [scans[-1].subject]
    assert "lies outside" in found.failures[0][1]
    assert len(values(found, "auprc")) == 1


def test_subjects_that_were_trained_on_are_refused(tiny_cohort, maps):
    subject = tiny_cohort.select("test", "T2w")[0].subject
    with pytest.raises(InputError, match=f"{subject} were trained on"):
        evaluate_maps(tiny_cohort, "T2w", {"own": maps}, PLAIN, trained_on=[subject])


def test_files(tiny_cohort, maps, tmp_path):
    found = evaluate_maps(tiny_cohort, "T2w", {"own": maps}, PLAIN)
    for name in ("a", "b"):
        write_evaluation(found, tmp_path / name, RunRecord(command="test"))
    first, second = (tmp_path / name / "scores.csv" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    pd.testing.assert_frame_equal(
        pd.read_csv(first)[["subject", "metric", "value"]],
        found.scores[["subject", "metric", "value"]],
    )
    summary = json.loads((tmp_path / "a" / "summary.json").read_text())
    assert summary["split_hash"] == tiny_cohort.split_hash()
    assert summary["thresholds"].keys() == {"own"}
    with np.load(tmp_path / "a" / "curves.npz") as curves:
        assert np.all(np.diff(curves["own/recall"]) > 0)
        assert len(curves["own/recall"]) == len(curves["own/precision"]) <= 1000


def test_more_subjects_of_the_same_do_not_change_the_means(tmp_path):
    results = []
    for sick in (2, 4):
        cohort = write_tiny_cohort(tmp_path / str(sick), sick=sick)
        for scan in cohort.select("test", "T2w", healthy=False):
            image = read_volume(cohort.select("test", "T2w", healthy=False)[0].image)
            write_volume(scan.image, image.array, image.affine)
        folder = write_maps(cohort, tmp_path / f"m{sick}", lambda i, t, b: i)
        found = evaluate_maps(cohort, "T2w", {"own": folder}, PLAIN)
        results.append({r.key[1:]: r.mean for r in found.summary if r.group == "all"})
    assert results[0] == pytest.approx(results[1])

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from brainuad.metrics import voxel

SCORE = np.array([0.9, 0.8, 0.8, 0.4, 0.1, 0.0])
TRUTH = np.array([True, True, False, False, True, False])

# Few distinct values, so that ties are common.
scores = arrays(np.float32, 30, elements=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]))
truths = arrays(bool, 30)


def _curve(score, truth, missed=0):
    return voxel.curve([voxel.sort_scores(score, truth, missed)])


def test_curve_by_hand():
    found = _curve(SCORE, TRUTH)
    # 0.4 and 0.0 are healthy voxels' alone: nothing is decided there.
    assert found.threshold.tolist() == [0.9, 0.8, 0.1]
    assert found.true_positives.tolist() == [1, 2, 3]
    assert found.false_positives.tolist() == [0, 1, 2]
    assert found.above.tolist() == [0, 0, 2]
    assert (found.positives, found.negatives) == (3, 3)


def test_average_precision_by_hand():
    # Recall rises by a third at precisions 1, 2/3 and 3/5.
    expected = (1 + 2 / 3 + 3 / 5) / 3
    assert voxel.average_precision(SCORE, TRUTH) == pytest.approx(expected)


def test_dice_by_hand_and_its_empty_masks():
    a, b = np.array([1, 1, 0, 0], bool), np.array([0, 1, 1, 0], bool)
    none = np.zeros(4, bool)
    assert voxel.dice(a, b) == 0.5
    assert voxel.dice(none, none) == 1
    assert voxel.dice(a, none) == voxel.dice(none, a) == 0


def test_undefined_without_both_classes():
    none = np.zeros(6, bool)
    assert np.isnan(voxel.average_precision(SCORE, none))
    assert np.isnan(voxel.auroc(SCORE, none))
    assert np.isnan(voxel.auroc(SCORE, ~none))
    assert np.isnan(voxel.best_dice(SCORE, none)).all()


def test_lesion_outside_the_brain_mask_counts_for_dice_alone():
    counts = _curve(SCORE, TRUTH, missed=3)
    assert voxel.dice_curve(counts)[0] == pytest.approx(2 * 1 / (1 + 6))
    assert voxel.curve_average_precision(counts) == voxel.average_precision(SCORE, TRUTH)


@pytest.mark.slow
@settings(max_examples=200)
@given(score=scores, truth=truths)
def test_equal_to_scikit_learn(score, truth):
    if not truth.any() or truth.all():
        return
    assert voxel.average_precision(score, truth) == pytest.approx(
        average_precision_score(truth, score)
    )
    assert voxel.auroc(score, truth) == pytest.approx(roc_auc_score(truth, score))
    precision, recall = voxel.precision_recall(_curve(score, truth))
    theirs = precision_recall_curve(truth, score)
    # Where recall rises; scikit-learn lists the healthy voxels' scores too.
    rises = np.diff(theirs[1], append=0)[:-1] < 0
    assert precision[::-1] == pytest.approx(theirs[0][:-1][rises])
    assert recall[::-1] == pytest.approx(theirs[1][:-1][rises])


@settings(max_examples=200)
@given(score=scores, truth=truths)
def test_best_dice_is_the_best_of_all_thresholds(score, truth):
    if not truth.any():
        return
    brute = max(voxel.dice(score >= value, truth) for value in np.unique(score))
    value, threshold = voxel.best_dice(score, truth)
    assert value == pytest.approx(brute)
    assert voxel.dice(score >= threshold, truth) == pytest.approx(brute)


@given(score=scores, truth=truths, seed=st.integers(0, 99))
def test_order_and_monotone_transforms_change_nothing(score, truth, seed):
    order = np.random.default_rng(seed).permutation(30)
    for other, labels in ((score[order], truth[order]), (np.exp(3 * score) - 7, truth)):
        for metric in (voxel.average_precision, voxel.auroc):
            expected = metric(score, truth)
            assert metric(other, labels) == pytest.approx(expected, nan_ok=True)
        assert voxel.best_dice(other, labels)[0] == pytest.approx(
            voxel.best_dice(score, truth)[0], nan_ok=True
        )


@given(a=truths, b=truths)
def test_dice_is_symmetric_and_one_only_for_equal_masks(a, b):
    assert voxel.dice(a, b) == voxel.dice(b, a)
    assert (voxel.dice(a, b) == 1) == np.array_equal(a, b)
    padded = voxel.dice(np.append(a, np.zeros(9, bool)), np.append(b, np.zeros(9, bool)))
    assert padded == voxel.dice(a, b)


@given(truth=truths)
def test_a_perfect_map_scores_one(truth):
    if not truth.any() or truth.all():
        return
    score = truth.astype(np.float32)
    assert voxel.average_precision(score, truth) == 1
    assert voxel.auroc(score, truth) == 1
    assert voxel.best_dice(score, truth) == (1, 1)


@settings(max_examples=100)
@given(data=st.lists(st.tuples(scores, truths), min_size=1, max_size=4))
def test_the_curve_of_several_subjects_is_that_of_all_voxels(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sorted")
    pooled = voxel.curve(
        [
            voxel.sort_scores(score, truth).on_disk(folder / f"{i}.npy")
            for i, (score, truth) in enumerate(data)
        ]
    )
    score, truth = (np.concatenate(parts) for parts in zip(*data, strict=True))
    whole = _curve(score, truth)
    assert np.array_equal(pooled.threshold, whole.threshold)
    assert np.array_equal(pooled.true_positives, whole.true_positives)
    assert np.array_equal(pooled.false_positives, whole.false_positives)
    assert np.array_equal(pooled.above, whole.above)
    assert (pooled.positives, pooled.negatives) == (whole.positives, whole.negatives)


def test_a_lesion_all_outside_the_brain_mask_is_missed():
    subject = voxel.sort_scores(SCORE, np.zeros(6, bool), missed=4)
    assert voxel.curve_best_dice(voxel.curve([subject]))[0] == 0
    assert voxel.dice_at(subject, np.array([0.5])).tolist() == [0]
    assert np.isnan(voxel.best_shared_threshold([subject]))


@settings(max_examples=100)
@given(data=st.lists(st.tuples(scores, truths), min_size=1, max_size=4))
def test_the_shared_threshold_is_the_best_of_all(data):
    data = [(score, truth) for score, truth in data if truth.any()]
    if not data:
        return
    curves = [voxel.sort_scores(score, truth) for score, truth in data]
    found = voxel.best_shared_threshold(curves)

    def mean(threshold):
        return np.mean([voxel.dice(score >= threshold, truth) for score, truth in data])

    best = max(mean(value) for value in np.unique([score for score, _ in data]))
    assert mean(found) == pytest.approx(best)
    for (score, truth), counts in zip(data, curves, strict=True):
        at = voxel.dice_at(counts, np.array([found, 2.0]))
        assert at.tolist() == pytest.approx([voxel.dice(score >= found, truth), 0])


def test_the_shared_threshold_is_exact_in_large_volumes_with_small_lesions():
    """A grid over the voxels steps past the few scores that a small lesion turns on."""
    rng = np.random.default_rng(0)
    curves = []
    for _ in range(3):
        truth = np.zeros(50_000, bool)
        truth[:20] = True
        score = rng.gamma(2, 0.05, truth.size).astype(np.float32)
        score[:20] += rng.normal(0.4, 0.15, 20).clip(0).astype(np.float32)
        curves.append(voxel.sort_scores(score, truth))
    every = np.unique(np.concatenate([np.r_[c.lesion, c.healthy] for c in curves]))
    mean = np.mean([voxel.dice_at(counts, every) for counts in curves], axis=0)
    found = np.array([voxel.best_shared_threshold(curves)])
    at = np.mean([voxel.dice_at(counts, found)[0] for counts in curves])
    assert at == pytest.approx(mean.max(), abs=1e-12)


def test_just_below_turns_at_least_into_above():
    scores = np.float32([0.0, 0.1, 0.7, 3.0])
    for value in scores:
        assert np.array_equal(scores > voxel.just_below(value), scores >= value)

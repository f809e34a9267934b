"""The thresholds of the 2D benchmarks against the loops of their released codes."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from sklearn.model_selection import KFold

from brainuad.evaluation import slice_rules as rules
from brainuad.evaluation import slice_store
from brainuad.evaluation.flatter import median_mask
from brainuad.evaluation.slice_store import Slice, SliceStore, regions, sorted_blocks
from brainuad.metrics import voxel
from brainuad.metrics.lesion import curve_overlap, per_region_overlap

SCORES = arrays(np.float32, (9, 8), elements=st.sampled_from(np.float32([0, 0.2, 0.25, 0.5, 1])))
TRUTHS = arrays(bool, (9, 8), elements=st.sampled_from([False, False, False, True]))
PAIRS = st.lists(st.tuples(SCORES, TRUTHS), min_size=5, max_size=8)


def pooled_dice(masks, truths):
    masks, truths = np.concatenate(masks), np.concatenate(truths)
    total = masks.sum() + truths.sum()
    return 2 * (masks & truths).sum() / total if total else 0.0


def without_small(mask, smallest):
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    sizes = ndimage.sum_labels(mask, labels, np.arange(count + 1))
    return mask & (sizes >= smallest)[labels]


def best_on_grid(pairs, smallest):
    scores, truths = (np.array(side) for side in zip(*pairs, strict=True))
    thresholds = np.linspace(float(scores.min()), float(scores.max()), 100).astype(np.float32)
    found = [
        pooled_dice([without_small(score > t, smallest) for score in scores], truths)
        for t in thresholds
    ]
    return max(found), thresholds[int(np.argmax(found))]


def blocks_of(pairs):
    return [voxel.sort_scores(score.ravel(), truth.ravel()) for score, truth in pairs]


@settings(max_examples=30, deadline=None)
@given(PAIRS)
def test_the_best_of_200_quantiles_is_the_released_loop(pairs):
    scores, truths = (np.array(side) for side in zip(*pairs, strict=True))
    ordered = np.sort(scores, axis=None)
    found = rules.best_of_quantiles(blocks_of(pairs), ordered)
    if not truths.any():
        assert np.isnan(found).all()
        return
    thresholds = ordered[np.arange(0, ordered.size, ordered.size // 200)]
    values = [pooled_dice(scores > t, truths) for t in thresholds]
    assert found == (pytest.approx(max(values)), thresholds[int(np.argmax(values))])


def test_the_quantiles_miss_what_is_brighter_than_all_of_them():
    """4,000 pixels: steps of 20, so that none of the 10 brightest can be told from the next."""
    score = np.arange(4000, dtype=np.float32).reshape(50, 80)
    truth = score >= 3990
    blocks = blocks_of([(score, truth)])
    dice, threshold = rules.best_of_quantiles(blocks, score.ravel())
    # The highest threshold is 3,980: 19 pixels above it, 10 of them true.
    assert (dice, threshold) == (pytest.approx(20 / 29), 3980)
    assert voxel.curve_best_dice(voxel.curve(blocks)) == (1.0, 3990)


@settings(max_examples=6, deadline=None)
@given(PAIRS, st.sampled_from([0, 2, 10]))
def test_five_folds_are_the_released_loop(pairs, smallest):
    values = []
    for train, test in KFold(5, shuffle=True, random_state=42).split(pairs):
        _, threshold = best_on_grid([pairs[i] for i in train], smallest)
        masks = [without_small(pairs[i][0] > threshold, smallest) for i in test]
        values.append(pooled_dice(masks, [pairs[i][1] for i in test]))
    assert rules.folds_dice(pairs, smallest) == pytest.approx((np.mean(values), np.std(values)))


@pytest.mark.slow
@settings(max_examples=3, deadline=None)
@given(PAIRS)
def test_filter_and_size_are_chosen_as_the_released_loop_does(pairs):
    best, median = -1.0, 0
    for edge in (0, 3, 5, 7):
        dice = best_on_grid(
            [(ndimage.median_filter(s, edge) if edge else s, t) for s, t in pairs], 0
        )
        if dice[0] > best:
            best, median = dice[0], edge
    chosen = [(ndimage.median_filter(s, median) if median else s, t) for s, t in pairs]
    found = [best_on_grid(chosen, size)[0] for size in range(0, 101, 10)]
    expected = (median, 10 * int(np.argmax(found)), pytest.approx(max(found)))
    assert tuple(rules.tune(pairs)) == expected


def test_fewer_slices_than_folds_have_no_folds():
    pair = np.ones((4, 4), np.float32), np.ones((4, 4), bool)
    assert np.isnan(rules.folds_dice([pair] * 4, 0)).all()


@settings(max_examples=30, deadline=None)
@given(PAIRS)
def test_the_best_threshold_for_all_slices_is_the_best_of_every_score(pairs):
    pairs = [(score, truth) for score, truth in pairs if truth.any()]
    found, lowest = rules.best_shared(lambda: pairs)
    if not pairs:
        assert np.isnan([found, lowest]).all()
        return
    values = [
        np.mean([voxel.dice(score >= t, truth) for score, truth in pairs])
        for t in np.unique([score for score, _ in pairs])
    ]
    assert found == pytest.approx(max(values))
    at = np.mean([voxel.dice(score >= np.float32(lowest), truth) for score, truth in pairs])
    assert at == pytest.approx(found)


@settings(max_examples=30, deadline=None)
@given(SCORES, st.sampled_from([0, 3, 5, 7]), st.sampled_from([0.0, 0.2, 0.4, 0.5]))
def test_a_median_of_the_mask_is_the_mask_of_the_median(score, edge, threshold):
    filtered = ndimage.median_filter(score, edge) if edge else score
    assert (median_mask(score > threshold, edge) == (filtered > threshold)).all()


def test_components_by_hand():
    mask = np.zeros((5, 6), bool)
    mask[0, :3] = mask[1, 3] = True  # Four pixels, the last by its corner.
    mask[4, 5] = True
    truth = np.zeros_like(mask)
    truth[0, 0] = truth[4, 5] = truth[2, 2] = True
    predicted, hits = rules.component_counts(mask, truth, (0, 1, 2, 5))
    assert predicted.tolist() == [5, 5, 4, 0]
    assert hits.tolist() == [2, 2, 1, 0]


def stored(path, pairs, people=None):
    store = SliceStore(path)
    for index, (score, truth) in enumerate(pairs):
        person = people[index] if people else f"p{index}"
        brain = np.ones(truth.shape, bool)
        area = int(truth.sum())
        store.add([Slice(score, truth, brain, person, area, area > 0, labelled=True)])
    return store


@settings(max_examples=40, deadline=None)
@given(PAIRS)
def test_regions_of_all_slices_give_the_overlap_of_all_pixels(tmp_path_factory, pairs):
    store = stored(tmp_path_factory.mktemp("store") / "s", pairs)
    score, truth = (np.array(side) for side in zip(*pairs, strict=True))
    labels, last = np.zeros(truth.shape, int), 0
    for index, plane in enumerate(truth):
        found, count = ndimage.label(plane, np.ones((3, 3)))
        labels[index][plane] = found[plane] + last
        last += count
    expected = per_region_overlap(score.ravel(), labels.ravel())
    curve = voxel.curve(blocks_of(pairs))
    assert curve_overlap(*regions(store), curve) == pytest.approx(expected, nan_ok=True)


def test_slices_come_back_as_they_were_in_two_open_files(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    pairs = [
        (rng.random((4, 3 + n % 2), np.float32), rng.random((4, 3 + n % 2)) > 0.8)
        for n in range(300)
    ]
    store = stored(tmp_path / "s", pairs, [f"p{n % 7}" for n in range(300)])
    before = len(os.listdir("/proc/self/fd"))
    kept = list(store)
    assert len(os.listdir("/proc/self/fd")) <= before + 2
    for piece, (score, truth) in zip(kept, pairs, strict=True):
        assert (piece.score == score).all()
        assert (piece.truth == truth).all()
        assert piece.brain.all()
    people = store.of_people()
    assert [len(people[f"p{n}"]) for n in range(7)] == [43] * 6 + [42]
    largest = {piece.person: piece.area for piece in store.largest()}
    for person, part in people.items():
        assert largest[person] == max(piece.area for piece in part)
    # In blocks of any size, the curve is the same.
    whole = voxel.curve(sorted_blocks(store, tmp_path / "a"))
    monkeypatch.setattr(slice_store, "BLOCK", 100)
    blocks = sorted_blocks(store, tmp_path / "b")
    assert len(blocks) > 10
    for one, other in zip(vars(whole).values(), vars(voxel.curve(blocks)).values(), strict=True):
        assert (one == other) if isinstance(one, int) else (one == other).all()

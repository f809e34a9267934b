import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from brainuad.metrics.lesion import label_lesions, lesion_scores, per_region_overlap

MM1 = (1.0, 1.0, 1.0)
masks = arrays(bool, (6, 7, 5), elements=st.sampled_from([False, False, False, True]))


def _mask(*boxes):
    mask = np.zeros((20, 20, 20), bool)
    for x, y, z, n in boxes:
        mask[x : x + n, y : y + n, z : z + n] = True
    return mask


def test_by_hand():
    truth = _mask((0, 0, 0, 4), (10, 10, 10, 3))
    # Covers 8 of 64 voxels of the first lesion and 2 of the 27 of the second, and errs once.
    found = _mask((2, 2, 2, 2), (16, 0, 0, 2))
    found[10, 10, 10:12] = True
    scores = lesion_scores(found, truth, MM1)
    # Two voxels make 2 mm3: that finding is ignored.
    assert scores.lesion_sensitivity == 0.5
    assert scores.lesion_precision == 0.5
    assert scores.lesion_f1 == 0.5
    assert scores.fp_per_volume == 1


def test_a_tenth_is_enough_and_less_is_not():
    truth = np.zeros((30, 10, 10), bool)
    truth[:20, 0, 0] = True
    for voxels, expected in ((2, 1.0), (1, 0.0)):
        found = np.zeros_like(truth)
        found[20 - voxels : 20 - voxels + 10, 0, 0] = True
        assert lesion_scores(found, truth, MM1).lesion_sensitivity == expected


def test_small_components_are_ignored_in_mm3():
    truth = _mask((0, 0, 0, 1))
    assert np.isnan(lesion_scores(truth, truth, MM1).lesion_f1)
    assert lesion_scores(truth, truth, (2.0, 2.0, 1.0)).lesion_f1 == 1


def test_empty_masks():
    truth, none = _mask((0, 0, 0, 4)), _mask()
    missed = lesion_scores(none, truth, MM1)
    assert (missed.lesion_sensitivity, missed.lesion_f1, missed.fp_per_volume) == (0, 0, 0)
    assert np.isnan(missed.lesion_precision)
    alarm = lesion_scores(truth, none, MM1)
    assert (alarm.lesion_precision, alarm.lesion_f1, alarm.fp_per_volume) == (0, 0, 1)
    assert np.isnan(alarm.lesion_sensitivity)
    assert np.isnan(lesion_scores(none, none, MM1)[:3]).all()


def _brute(labels, other):
    """The rule, one component at a time."""
    sizes = [(labels == i).sum() for i in range(1, labels.max() + 1)]
    shares = [other[labels == i].mean() for i in range(1, labels.max() + 1)]
    kept = [share >= 0.1 for size, share in zip(sizes, shares, strict=True) if size >= 3]
    return np.mean(kept) if kept else np.nan


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_column_of_voxels_is_labelled(axis):
    column = np.moveaxis(np.array([1, 1, 0, 1, 0, 0, 1, 1], bool)[:, None, None], 0, axis)
    assert label_lesions(column).ravel().tolist() == [1, 1, 0, 2, 0, 0, 3, 3]


@pytest.mark.parametrize("shape", [(3, 1, 1), (1, 3, 3), (3, 5, 1), (3, 3, 3), (5, 3, 7)])
def test_isolated_voxels_that_fill_a_box_are_labelled(shape):
    mask = np.zeros(shape, bool)
    mask[::2, ::2, ::2] = True
    labels = label_lesions(mask)
    assert labels.shape == shape
    assert sorted(labels[mask]) == list(range(1, mask.sum() + 1))


@settings(max_examples=60)
@given(found=masks, truth=masks)
def test_equals_the_rule_one_component_at_a_time(found, truth):
    box = np.ones((3, 3, 3))
    labels = [ndimage.label(mask, box)[0] for mask in (found, truth)]
    big = [np.isin(x, [i for i in range(1, x.max() + 1) if (x == i).sum() >= 3]) for x in labels]
    scores = lesion_scores(found, truth, MM1)
    assert scores.lesion_sensitivity == pytest.approx(_brute(labels[1], big[0]), nan_ok=True)
    assert scores.lesion_precision == pytest.approx(_brute(labels[0], big[1]), nan_ok=True)


def test_pro_by_hand():
    # Regions of 1 and 3 voxels, two outside. Falling score: region 1, outside, region 2 thrice.
    score = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.1])
    regions = np.array([1, 0, 2, 2, 2, 0])
    # Coverage is 1/2 up to a fallout of 1/2, where it rises to 1: below 0.3 it is 1/2.
    assert per_region_overlap(score, regions) == pytest.approx(0.5)
    # Up to 1: a half times 1/2, then 1 at 1/2, straight to 1.
    assert per_region_overlap(score, regions, 1.0) == pytest.approx(0.5 * 0.5 + 0.5 * 1.0)


@settings(max_examples=60)
@given(data=st.data())
def test_pro_of_a_perfect_map_is_one_and_of_a_constant_is_chance(data):
    regions = label_lesions(data.draw(masks)).ravel()
    if not regions.any() or regions.all():
        assert np.isnan(per_region_overlap(regions * 1.0, regions))
        return
    assert per_region_overlap((regions > 0) * 1.0, regions) == pytest.approx(1)
    # A constant map is the diagonal: 0.3 / 2.
    assert per_region_overlap(regions * 0.0, regions) == pytest.approx(0.15)


@settings(max_examples=100)
@given(
    score=arrays(np.float32, 40, elements=st.sampled_from([0, 0.25, 0.5, 0.75, 1])),
    regions=arrays(np.int64, 40, elements=st.sampled_from([0, 0, 0, 1, 2])),
    end=st.sampled_from([0.1, 0.3, 1.0]),
)
def test_overlap_is_the_area_of_the_curve_of_every_threshold(score, regions, end):
    present = [i for i in (1, 2) if (regions == i).any()]
    if not present or not (regions == 0).any():
        return
    x, y = [0.0], [0.0]
    for threshold in np.unique(score)[::-1]:
        x.append((score[regions == 0] >= threshold).mean())
        y.append(np.mean([(score[regions == i] >= threshold).mean() for i in present]))
    # At a step the curve jumps: integrate piece by piece, each from its upper left end.
    area = 0.0
    for i in range(1, len(x)):
        left, right = min(x[i - 1], end), min(x[i], end)
        if right > left:
            ends = [y[i - 1] + (v - x[i - 1]) / (x[i] - x[i - 1]) * (y[i] - y[i - 1])
                    for v in (left, right)]  # fmt: skip
            area += (right - left) * np.mean(ends)
    assert per_region_overlap(score, regions, end) == pytest.approx(area / end, abs=1e-9)

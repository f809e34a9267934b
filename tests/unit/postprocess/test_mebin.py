import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from brainuad.postprocess.mebin import Mebin, MebinThreshold, component_counts, longest_run

SPACING = (2.0, 2.0, 2.0)
BRAIN = np.zeros((14, 15, 16), bool)
BRAIN[1:13, 1:14, 1:15] = True


def smooth(seed, sigma=1.5):
    noise = np.random.default_rng(seed).normal(size=BRAIN.shape)
    return np.where(BRAIN, ndimage.gaussian_filter(noise, sigma), -1).astype(np.float32)


def reference(score, rule, bottom, top):
    """The published loop, threshold after threshold."""
    thresholds = [
        np.float32(bottom + (top - bottom) * n / rule.levels) for n in range(rule.levels, 0, -1)
    ]
    counts = []
    for threshold in thresholds:
        mask = (score > threshold) & BRAIN
        if rule.erosion_mm:
            cross = ndimage.generate_binary_structure(3, 1)
            mask = ndimage.binary_erosion(mask, cross)
        counts.append(int(cc3d.connected_components(mask, connectivity=26).max()))
    best, end = 0, None
    start = 0
    while start < len(counts):
        stop = start
        while stop < len(counts) and counts[stop] == counts[start]:
            stop += 1
        if counts[start] and stop - start >= rule.least_run and stop - start > best:
            best, end = stop - start, stop - 1
        start = stop
    return float(score.max()) if end is None else float(thresholds[end])


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.floats(0.3, 2.0), st.sampled_from([0.0, 2.0]))
def test_the_threshold_is_that_of_the_published_loop(seed, sigma, erosion_mm):
    score = smooth(seed, sigma)
    bottom, top = np.quantile(score[BRAIN], [0.8, 0.999])
    rule = Mebin(levels=32, erosion_mm=erosion_mm)
    found = MebinThreshold(rule, bottom, top)(score, BRAIN, SPACING)
    assert found == reference(score, rule, bottom, top)


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 6))
def test_components_are_counted_at_every_threshold_at_once(seed, values):
    score = np.random.default_rng(seed).integers(0, values, (5, 6, 7)).astype(np.float32)
    thresholds = np.arange(-1, values + 1, 0.5).astype(np.float32)
    counts = [int(cc3d.connected_components(score > t, connectivity=26).max()) for t in thresholds]
    np.testing.assert_array_equal(component_counts(score, thresholds), counts)
    assert component_counts(score, np.array([values + 1.0], np.float32)).tolist() == [0]


def test_two_lesions_by_hand():
    """Two blobs stay two from 0.95 down to 0.3, where a bridge joins them."""
    score = np.zeros(BRAIN.shape, np.float32)
    score[3:6, 3:6, 3:6] = score[3:6, 9:12, 3:6] = 0.96
    score[4, 6:9, 4] = 0.3
    found = MebinThreshold(Mebin(levels=20), 0.0, 1.0)(score, BRAIN, SPACING)
    assert found == pytest.approx(0.3)
    mask = score > found
    assert cc3d.connected_components(mask, connectivity=26).max() == 2
    assert np.count_nonzero(mask) == 2 * 27


def test_without_a_plateau_nothing_is_marked():
    score = np.zeros(BRAIN.shape, np.float32)
    # A new component at each of the thresholds 19/20 ... 1/20.
    places = [(x, y, 3) for x in range(2, 13, 3) for y in range(2, 14, 3)]
    score[tuple(np.array(places).T)] = (np.arange(len(places)) + 5.5) / (len(places) + 5)
    found = MebinThreshold(Mebin(levels=len(places) + 5, least_run=6), 0.0, 1.0)
    assert not (score > found(score, BRAIN, SPACING)).any()
    assert not (0 * score > found(0 * score, BRAIN, SPACING)).any()


def test_erosion_is_in_mm():
    score = np.zeros(BRAIN.shape, np.float32)
    score[4, 4, 4] = 1  # one voxel, gone after an erosion by a voxel
    for erosion_mm, spacing, marked in ((0, 2.0, 1), (2, 2.0, 0), (2, 4.0, 1)):
        rule = MebinThreshold(Mebin(erosion_mm=erosion_mm), 0.0, 0.9)
        found = score > rule(score, BRAIN, (spacing,) * 3)
        assert np.count_nonzero(found) == marked


def test_what_lies_outside_the_brain_does_not_count():
    score = np.zeros(BRAIN.shape, np.float32)
    score[0] = 5
    assert MebinThreshold(Mebin(), 0.0, 1.0)(score, BRAIN, SPACING) == 5


def test_healthy_brains_set_the_interval():
    scores = [np.arange(100, dtype=np.float32), np.arange(100, 200, dtype=np.float32)]
    assert Mebin().fit(scores) == (197, 199)
    assert Mebin(bottom_share=0.5).fit(scores, ordered=True) == (99, 199)


@pytest.mark.parametrize("ends", [(1.0, 1.0), (float("nan"), float("nan"))])
def test_an_empty_interval_has_no_threshold(ends):
    assert np.isnan(MebinThreshold(Mebin(), *ends)(smooth(0), BRAIN, SPACING))


def test_the_longest_run():
    assert longest_run([0, 0, 0, 2, 2, 1, 1, 1, 1, 3], 2) == slice(5, 9)
    assert longest_run([1, 1, 2, 2], 2) == slice(0, 2)
    assert longest_run([1, 2, 3], 2) is None
    assert longest_run([0, 0, 0], 1) is None


@pytest.mark.parametrize(
    "wrong", [{"bottom_share": 0.0}, {"least_run": 0}, {"levels": 3}, {"erosion_mm": -1.0}]
)
def test_what_is_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        Mebin(**wrong)

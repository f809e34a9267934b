import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainuad.postprocess.threshold import HealthyThreshold, Scale, ScanThreshold, UpperSpread

SPACING = (2.0, 2.0, 2.0)
BRAIN = np.zeros((10, 10, 10), bool)
BRAIN[1:9, 1:9, 1:9] = True


def scan(seed, gain=1.0, offset=0.0):
    """Skewed scores of a brain, as residuals have."""
    score = np.random.default_rng(seed).gamma(1.0, 1.0, BRAIN.shape)
    return np.where(BRAIN, gain * score + offset, 0).astype(np.float32)


def fitted(scans, rule, alpha=0.01):
    inside = [score[BRAIN] for score in scans]
    scales = [rule(values) for values in inside]
    return ScanThreshold(rule, HealthyThreshold(alpha).fit(inside, scales=scales))


def test_the_scale_is_of_two_quantiles():
    rule = UpperSpread()
    values = np.random.default_rng(0).permutation(np.arange(100.0)).astype(np.float32)
    assert rule(values) == rule(np.sort(values), ordered=True) == Scale(50, 25)
    assert UpperSpread(0.25, (0.75,))(values) == Scale(25, 50)


def test_a_higher_quantile_is_taken_where_scores_are_mostly_alike():
    scores = np.arange(100, dtype=np.float32)
    sparse = np.where(scores >= 87, scores, 0).astype(np.float32)
    assert UpperSpread().fitting([scores, scores]).upper == (0.75,)
    assert UpperSpread().fitting([scores, sparse]).upper == (0.90,)
    assert UpperSpread().fitting([scores, np.zeros(100, np.float32)]) is None


@pytest.mark.parametrize(
    "ends", [(0.5, (0.5,)), (-0.1, (0.5,)), (0.5, (1.0,)), (0.5, ()), (0.5, (0.9, 0.8))]
)
def test_impossible_quantiles_are_refused(ends):
    with pytest.raises(ValueError, match="expected 0 <= middle < upper < 1"):
        UpperSpread(*ends)


def test_the_threshold_by_hand():
    # On its own scale each of the two scans runs from -50/25 to 49/25.
    scans = [np.arange(100, dtype=np.float32), 2 * np.arange(100, dtype=np.float32) + 7]
    rule = UpperSpread()
    value = HealthyThreshold(0.1).fit(scans, scales=[rule(one) for one in scans])
    assert value == pytest.approx((89 - 50) / 25)
    for one, scale in zip(scans, map(rule, scans), strict=True):
        assert np.count_nonzero(one > np.float32(scale.at(value))) == 10


@given(
    st.integers(0, 1000),
    st.sampled_from([0.25, 0.5, 2.0, 8.0]),
    st.integers(-5, 50),
    st.sampled_from([0.5, 0.75, 0.95]),
)
def test_gain_and_offset_of_a_scan_change_no_mask(seed, gain, offset, upper):
    # Whole numbers: exact in float32 whatever gain and offset.
    score = np.where(BRAIN, np.random.default_rng(seed).integers(0, 1000, BRAIN.shape), 0)
    other = np.where(BRAIN, gain * score + offset, 0)
    rule = ScanThreshold(UpperSpread(0.25, (upper,)), 1.5)
    masks = [
        (volume > rule(volume, BRAIN, SPACING)) & BRAIN
        for volume in (score.astype(np.float32), other.astype(np.float32))
    ]
    np.testing.assert_array_equal(*masks)


@given(st.integers(0, 1000), st.sampled_from([0.0, 0.01, 0.1]))
def test_the_fit_is_exact(seed, alpha):
    rng = np.random.default_rng(seed)
    scans = [rng.integers(0, 9, 60).astype(np.float32) * gain for gain in (1, 3)]
    rule = UpperSpread(0.25, (0.75,))
    scales = [rule(one) for one in scans]
    if min(scale.spread for scale in scales) == 0:
        return
    fit = HealthyThreshold(alpha).fit
    value = fit(scans, scales=scales)
    assert value == fit([np.sort(one) for one in scans], ordered=True, scales=scales)

    def marked(value):
        return sum(
            np.count_nonzero(one > np.float32(scale.at(value)))
            for one, scale in zip(scans, scales, strict=True)
        )

    allowed = int(alpha * 120)
    assert marked(value) <= allowed
    assert marked(float(np.nextafter(np.float32(value), np.float32(-np.inf)))) > allowed


def test_the_promise_survives_another_scanner():
    known = [scan(seed) for seed in range(8)]
    other = [scan(seed, gain=3, offset=2) for seed in range(8, 40)]
    rule = fitted(known, UpperSpread())
    healthy = HealthyThreshold(0.01).fit([score[BRAIN] for score in known])
    scanned = [(score > rule(score, BRAIN, SPACING))[BRAIN].mean() for score in other]
    assert 0.005 < np.mean(scanned) < 0.015
    assert np.mean([(score > healthy)[BRAIN].mean() for score in other]) > 0.05


def test_a_lesion_smaller_than_the_rest_does_not_move_the_threshold_far():
    rule, score = fitted([scan(0)], UpperSpread(0.5, (0.75,))), scan(1)
    before = rule(score, BRAIN, SPACING)
    lesion = score.copy()
    lesion[2:6, 2:6, 2:5] = 50  # 9 % of the brain
    assert rule(lesion, BRAIN, SPACING) < 1.5 * before
    worse = score.copy()
    worse[2:6, 2:6, 2:5] = 5000
    assert rule(worse, BRAIN, SPACING) == rule(lesion, BRAIN, SPACING)


def test_too_many_equal_scores_have_no_threshold():
    score = np.zeros(BRAIN.shape, np.float32)
    score[4, 4, 4] = 1
    assert np.isnan(ScanThreshold(UpperSpread(), 2.0)(score, BRAIN, SPACING))


@pytest.mark.parametrize(
    ("above", "told"), [(0, False), (1, False), (2, True), (10, True), (500, True)]
)
def test_healthy_scores_tell_of_a_threshold_where_enough_are_above_the_lowest(above, told):
    scores = np.full(1000, 0.25, np.float32)
    scores[:above] = 0.5
    halves = [scores[::2], scores[1::2]]
    assert HealthyThreshold(0.01).is_told(halves) is told
    assert HealthyThreshold(0.01).is_told([np.sort(one) for one in halves], ordered=True) is told

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage import filters, measure
from tiny import ROOT

from brainuad.postprocess.components import AreaOpening, FillHoles, Opening, RemoveSmall
from brainuad.postprocess.erode import ErodeBrainMask, ErodeSlices
from brainuad.postprocess.pipeline import Postprocess
from brainuad.postprocess.scale import Clip, Saturate, Sign
from brainuad.postprocess.smooth import Gaussian, Median
from brainuad.postprocess.threshold import HealthyThreshold, Hysteresis, Otsu
from brainuad.settings.instantiate import instantiate

MM1, MM2 = (1.0, 1.0, 1.0), (2.0, 2.0, 2.0)


def _ball(shape=(21, 21, 21), radius=8.0):
    grid = np.indices(shape) - (np.array(shape) // 2)[:, None, None, None]
    return np.linalg.norm(grid, axis=0) <= radius


@pytest.mark.parametrize(
    "step",
    [
        Gaussian(2.0),
        Gaussian(2.0, normalise=False, in_plane=True),
        Median(3.0),
        ErodeBrainMask(2.0),
        ErodeSlices(2.0),
        ErodeSlices(2.0, square_share=0.95),
    ],
)
def test_map_steps_keep_the_outside_zero_and_do_not_change_their_input(step):
    mask = _ball()
    noise = np.random.default_rng(0).random(mask.shape).astype(np.float32)
    before = noise.copy()
    found = step(noise, mask, MM1)
    assert found.dtype == np.float32
    assert (found[~mask] == 0).all()
    assert np.array_equal(noise, before)


def test_gaussian_keeps_a_constant_brain_constant():
    mask = _ball()
    found = Gaussian(3.0)(mask.astype(np.float32), mask, MM1)
    assert found[mask] == pytest.approx(1, abs=1e-5)


def test_gaussian_is_scipys_away_from_the_rim():
    mask = np.ones((31, 31, 31), bool)
    spike = np.zeros(mask.shape, np.float32)
    spike[15, 15, 15] = 1
    found = Gaussian(2.0)(spike, mask, (1.0, 2.0, 4.0))
    expected = ndimage.gaussian_filter(spike, (2.0, 1.0, 0.5))
    assert found == pytest.approx(expected, abs=1e-6)


def test_median_is_scipys_and_its_window_is_in_mm():
    noise = np.random.default_rng(0).random((12, 13, 14)).astype(np.float32)
    mask = np.ones(noise.shape, bool)
    expected = ndimage.median_filter(noise, size=(5, 3, 1))
    assert np.array_equal(Median(5.0)(noise, mask, (1.0, 2.0, 5.0)), expected)
    assert np.array_equal(Median(1.0)(noise, mask, MM2), noise)


def test_erosion_means_the_same_at_every_spacing():
    fine, coarse = _ball((41, 41, 41), 16.0), _ball((21, 21, 21), 8.0)
    volumes = [
        ErodeBrainMask(4.0)(mask.astype(np.float32), mask, spacing).sum() * np.prod(spacing)
        for mask, spacing in ((fine, MM1), (coarse, MM2))
    ]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.1)
    assert volumes[0] == pytest.approx(4 / 3 * np.pi * 12**3, rel=0.1)


def test_erosion_by_the_share_of_a_square_asks_for_24_pixels_of_25():
    mask = np.zeros((9, 9, 2), bool)
    mask[1:8, 1:8] = True
    mask[1, 1, 0] = mask[1, 1:3, 1] = False
    found = ErodeSlices(4.0, square_share=0.95)(mask.astype(np.float32), mask, (2.0, 2.0, 5.0))
    # In a square of 7 pixels a side 3 x 3 have all 25; one of them lacks 1 here and 2 there.
    expected = np.zeros_like(mask)
    expected[3:6, 3:6] = True
    expected[3, 3, 1] = False
    assert np.array_equal(found > 0, expected)
    # A cross, repeated twice, reaches no corner: it clears none of them.
    assert ErodeSlices(4.0)(mask.astype(np.float32), mask, (2.0, 2.0, 5.0))[3, 3].all()


def test_a_brain_that_touches_the_edge_is_eroded_there():
    mask = np.ones((5, 5, 5), bool)
    found = ErodeBrainMask(1.0)(mask.astype(np.float32), mask, MM1)
    assert found.sum() == 27


def test_small_components_by_hand():
    mask = np.zeros((10, 10, 10), bool)
    mask[1, 1, 1] = mask[2, 2, 2] = True  # One component: they touch at a corner.
    mask[6:8, 6:8, 6:8] = True
    brain = np.ones_like(mask)
    assert RemoveSmall(2.0)(mask, brain, MM1).sum() == 10
    assert RemoveSmall(3.0)(mask, brain, MM1).sum() == 8
    assert RemoveSmall(16.0)(mask, brain, MM2).sum() == 10
    assert RemoveSmall(17.0)(mask, brain, MM2).sum() == 8
    assert RemoveSmall(9.0)(mask, brain, MM1).sum() == 0
    assert RemoveSmall(0.5)(mask, brain, MM1) is mask
    # Over faces alone the two that touch at a corner are two.
    assert RemoveSmall(2.0, connectivity=6)(mask, brain, MM1).sum() == 8


def test_the_filled_volume_of_a_component_counts_its_hole():
    mask = np.zeros((14, 8, 8), bool)
    mask[1:6, 1:6, 1:6] = True
    mask[2:5, 2:5, 2:5] = False  # 98 voxels around a hole of 27
    mask[8:13, 1:5, 1:6] = True  # 100 voxels
    brain = np.ones_like(mask)
    regions = measure.regionprops(measure.label(mask))
    assert [region.area_filled for region in regions] == [125, 100]
    for smallest, left in [(98, 198), (100, 198), (101, 98), (125, 98), (126, 0)]:
        assert RemoveSmall(smallest, filled=True)(mask, brain, MM1).sum() == left
    assert RemoveSmall(99)(mask, brain, MM1).sum() == 100
    assert mask.sum() == 198


def test_a_hole_that_is_open_across_a_corner_is_none():
    mask = np.ones((3, 3, 3), bool)
    mask[1, 1, 1] = False
    mask = np.pad(mask, 1)
    brain = np.ones_like(mask)
    assert RemoveSmall(27.0, filled=True)(mask, brain, MM1).sum() == 26
    mask[1, 1, 1] = False
    assert RemoveSmall(26.0, filled=True)(mask, brain, MM1).sum() == 0


def test_holes_are_filled_inside_the_brain():
    shell = np.zeros((9, 9, 9), bool)
    shell[1:8, 1:8, 1:8] = True
    shell[3:6, 3:6, 3:6] = False
    brain = np.ones_like(shell)
    assert FillHoles()(shell, brain, MM1).sum() == 7**3
    brain[4, 4, 4] = False
    assert FillHoles()(shell, brain, MM1).sum() == 7**3 - 1


def test_opening_keeps_the_thick_and_removes_the_thin_in_mm():
    mask = np.zeros((20, 20, 20), bool)
    mask[2:9, 2:9, 2:9] = True
    mask[12, 12, 2:18] = True
    brain = np.ones_like(mask)
    found = Opening(2.0)(mask, brain, MM1)
    assert found[5, 5, 5]
    assert not found[12].any()
    # At 4 mm a voxel is thicker than the ball of 2 mm.
    assert np.array_equal(Opening(2.0)(mask, brain, (4.0, 4.0, 4.0)), mask)


def test_area_opening_is_the_rule_slice_by_slice():
    mask = np.random.default_rng(0).random((20, 22, 6)) < 0.55
    found = AreaOpening(8.0)(mask, np.ones_like(mask), (2.0, 1.0, 5.0))
    for z in range(6):
        labels, count = ndimage.label(mask[:, :, z])
        # Four pixels of 2 mm2 make 8 mm2.
        big = [i for i in range(1, count + 1) if (labels == i).sum() >= 4]
        assert np.array_equal(found[:, :, z], np.isin(labels, big))
    assert AreaOpening(1.0)(mask, mask, MM2) is mask
    turned = AreaOpening(8.0, axis=0)(mask.transpose(2, 0, 1), mask, (5.0, 2.0, 1.0))
    assert np.array_equal(turned, found.transpose(2, 0, 1))


@given(
    maps=st.lists(
        arrays(np.float32, st.integers(1, 40), elements=st.sampled_from([0, 0.1, 0.5, 0.9, 1])),
        min_size=1,
        max_size=3,
    ),
    alpha=st.sampled_from([0.0, 0.01, 0.1, 0.5]),
)
def test_healthy_threshold_is_the_smallest_that_is_silent_enough(maps, alpha):
    found = HealthyThreshold(alpha).fit(maps)
    assert HealthyThreshold(alpha).fit([np.sort(m) for m in maps], ordered=True) == found
    pooled = np.concatenate(maps)
    assert (pooled > found).mean() <= alpha
    smaller = pooled[pooled < found]
    if smaller.size:
        assert (pooled > smaller.max()).mean() > alpha


def test_healthy_threshold_by_hand():
    assert HealthyThreshold(0.01).fit([np.arange(100), np.arange(100, 200)]) == 197
    assert HealthyThreshold(0.0).fit([np.arange(100)]) == 99


@pytest.mark.parametrize("alpha", [-0.1, 1.0])
def test_bad_alpha(alpha):
    with pytest.raises(ValueError, match="alpha"):
        HealthyThreshold(alpha)


def test_no_healthy_voxel():
    with pytest.raises(ValueError, match="no healthy brain voxel"):
        HealthyThreshold().fit([np.zeros(0)])


def test_healthy_threshold_of_negative_numbers():
    assert HealthyThreshold(0.25).fit([np.array([-3.0, -2.0, -1.0, -0.5])]) == -1


def test_otsu_parts_two_heaps_and_bears_a_constant():
    rng = np.random.default_rng(0)
    heaps = np.concatenate([rng.normal(0.2, 0.02, 900), rng.normal(0.8, 0.02, 100)])
    brain = np.ones(heaps.shape, bool)
    assert 0.25 < Otsu()(heaps, brain, MM1) < 0.75
    assert Otsu()(np.full(10, 0.3), np.ones(10, bool), MM1) == pytest.approx(0.3)
    # Much empty space around it becomes a heap of its own.
    padded, inside = np.pad(heaps, (0, 9000)), np.pad(brain, (0, 9000))
    assert Otsu()(padded, inside, MM1) == Otsu()(heaps, brain, MM1)
    assert Otsu(background=True)(padded, inside, MM1) < Otsu()(heaps, brain, MM1)


def test_otsu_over_a_frame_is_over_the_array_padded_to_it():
    score = np.random.default_rng(0).random((4, 5, 6)) ** 3
    brain = score > 0.1
    # 20 x 16 x 24 mm are 10 x 8 x 12 voxels of 2 mm.
    padded = np.pad(score, ((3, 3), (2, 1), (0, 6)))
    framed = Otsu(background=True, frame_mm=(20, 16, 24))
    expected = filters.threshold_otsu(padded)
    assert framed(score, brain, MM2) == pytest.approx(expected)
    assert framed(score, brain, MM2) != pytest.approx(filters.threshold_otsu(score))
    # A larger array is not cut.
    smaller = Otsu(background=True, frame_mm=(4, 4, 4))
    assert smaller(score, brain, MM2) == pytest.approx(filters.threshold_otsu(score))
    with pytest.raises(ValueError, match="set background to true"):
        Otsu(frame_mm=(1, 1, 1))


def test_a_chain_that_masks_last_looks_at_the_background():
    """A component of 4 voxels in the brain and 5 beside it: 9 are enough, 4 are not."""
    score = np.zeros((6, 6, 1), np.float32)
    score[1:4, 1:4] = 1
    brain = np.zeros(score.shape, bool)
    brain[:3, :3] = True
    steps = {"map_steps": [], "threshold": HealthyThreshold(), "mask_steps": [RemoveSmall(9.0)]}
    last = Postprocess(**steps, masks_last=True)
    found = last.score(score, brain, MM1)
    assert np.array_equal(found, score)
    assert np.array_equal(last.segment(found, brain, MM1, 0.5), brain & (score > 0.5))
    first = Postprocess(**steps)
    found = first.score(score, brain, MM1)
    assert np.array_equal(found, score * brain)
    assert not first.segment(found, brain, MM1, 0.5).any()


def test_hysteresis_grows_from_the_seeds_alone():
    score = np.array([0.0, 0.5, 1.0, 0.6, 0.2, 0.6, 0.5]).reshape(-1, 1, 1)
    found = Hysteresis(0.5)(score, 0.9)
    assert found.ravel().tolist() == [False, True, True, True, False, False, False]
    assert np.array_equal(Hysteresis(1.0)(score, 0.9), score > 0.9)
    with pytest.raises(ValueError, match="low is 2"):
        Hysteresis(2)


def test_signs_by_hand():
    signed, brain = np.array([-2.0, 0.0, 3.0]), np.ones(3, bool)
    assert Sign("abs")(signed, brain, MM1).tolist() == [2, 0, 3]
    assert Sign("positive")(signed, brain, MM1).tolist() == [0, 0, 3]
    assert Sign("negative")(signed, brain, MM1).tolist() == [2, 0, 0]
    with pytest.raises(ValueError, match="sign is 'both'"):
        Sign("both")


def test_saturation_and_clipping_by_hand():
    values, brain = np.array([0.1, 0.2, 0.3], np.float32), np.ones(3, bool)
    assert Saturate(0.2)(values, brain, MM1).tolist() == pytest.approx([0.1, 0.2, 1])
    assert Clip(0.2)(values, brain, MM1).tolist() == pytest.approx([0.5, 1, 1])


def test_pipeline_order_and_brain():
    mask = _ball()
    chain = Postprocess(
        map_steps=[lambda m, b, s: m + 1, lambda m, b, s: m * 2],
        threshold=HealthyThreshold(),
        mask_steps=[RemoveSmall(1.0)],
    )
    ones = np.ones(mask.shape, np.float32)
    score = chain.score(ones, mask, MM1)
    assert (score[mask] == 4).all()
    assert np.array_equal(chain.segment(score, mask, MM1, 3.9), mask)
    assert not chain.segment(score, mask, MM1, 4.0).any()


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs" / "postprocess").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_preset_runs(path):
    chain = instantiate(yaml.safe_load(path.read_text()))
    mask = _ball()
    noise = np.random.default_rng(0).random(mask.shape).astype(np.float32)
    score = chain.score(noise, mask, MM2)
    assert chain.segment(score, mask, MM2, 0.5).dtype == bool

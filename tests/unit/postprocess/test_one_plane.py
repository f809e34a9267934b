"""A volume of one plane is treated in its plane, by every step and every measure."""

import numpy as np
import pytest

from brainuad.metrics.lesion import lesion_scores
from brainuad.metrics.surface import surface_distances
from brainuad.postprocess.components import AreaOpening, FillHoles, Opening, RemoveSmall
from brainuad.postprocess.erode import ErodeBrainMask, ErodeSlices
from brainuad.postprocess.smooth import Gaussian, Median
from brainuad.postprocess.threshold import Otsu
from brainuad.preparation.quality.measures import Limits, measure
from brainuad.types import Volume
from brainuad.volumes.lost import border_of

SPACING = (2.0, 1.0, 2.0)
DEEP = 41  # planes of a stack whose middle knows nothing of its ends


def disc(shape=(24, 30), radius=10.0):
    x, y = np.ogrid[: shape[0], : shape[1]]
    return (x - 11.5) ** 2 + (y - 14.5) ** 2 < radius**2


def noise():
    return np.random.default_rng(0).random((24, 30)).astype(np.float32)


@pytest.mark.parametrize(
    "step",
    [
        Median(5.0),
        Median(3.0, in_plane=True),
        Gaussian(2.0),
        Gaussian(2.0, normalise=False),
        Gaussian(2.0, in_plane=True),
        ErodeBrainMask(3.0),
        ErodeSlices(2.0),
        ErodeSlices(2.0, square_share=0.95),
    ],
    ids=repr,
)
def test_a_map_step_does_to_a_plane_what_it_does_within_a_stack_of_it(step):
    one, mask = noise()[..., None], disc()[..., None]
    stack, masks = (np.repeat(array, DEEP, 2) for array in (one, mask))
    found = step(np.where(mask, one, 0), mask, SPACING)
    expected = step(np.where(masks, stack, 0), masks, SPACING)[..., DEEP // 2]
    np.testing.assert_allclose(found[..., 0], expected, atol=1e-6)
    assert found.any()


@pytest.mark.parametrize("step", [Opening(2.0), AreaOpening(20.0)], ids=repr)
def test_a_mask_step_does_to_a_plane_what_it_does_within_a_stack_of_it(step):
    mask = disc(radius=6) | (noise() > 0.9)
    found = step(mask[..., None], np.ones((24, 30, 1), bool), SPACING)
    stack = step(np.repeat(mask[..., None], DEEP, 2), np.ones((24, 30, DEEP), bool), SPACING)
    np.testing.assert_array_equal(found[..., 0], stack[..., DEEP // 2])
    assert found.any()


def test_a_hole_of_a_plane_is_filled():
    ring = disc() & ~disc(radius=4)
    found = FillHoles()(ring[..., None], np.ones((24, 30, 1), bool), SPACING)
    np.testing.assert_array_equal(found[..., 0], disc())


@pytest.mark.parametrize("thickness", [1.0, 7.0])
def test_a_small_piece_of_a_plane_is_one_below_the_cut_through_a_ball(thickness):
    mask = np.zeros((20, 20, 1), bool)
    mask[2:6, 2:6] = True  # 16 mm², and the largest cut through 50 mm³ has 16.4
    mask[10:11, 2:19] = True  # 17 mm²
    found = RemoveSmall(50.0)(mask, np.ones_like(mask), (1, 1, thickness))
    assert not found[:8].any()
    assert found[10, 2:19].all()


def test_a_ring_of_a_plane_counts_with_its_hole():
    ring = np.zeros((12, 12, 1), bool)
    ring[2:8, 2:8] = True
    ring[3:7, 3:7] = False  # 20 pixels, 36 with its hole
    volume = 150.0  # a cut of 34.1 mm²
    brain = np.ones_like(ring)
    assert not RemoveSmall(volume)(ring, brain, (1, 1, 1)).any()
    assert RemoveSmall(volume, connectivity=6, filled=True)(ring, brain, (1, 1, 1)).any()


def test_otsu_pads_a_plane_to_one_plane_of_its_frame():
    score = np.zeros((8, 8, 1))
    score[2:4, 2:4] = 1
    score[4:6, 2:4] = 0.4
    frame = Otsu(background=True, frame_mm=(16, 16, 300))
    padded = np.zeros((16, 16, 1))
    padded[:8, :8] = score
    inside = np.ones_like(score, bool)
    own = frame(score, inside, (1, 1, 1))
    assert own == Otsu(background=True)(padded, np.ones_like(padded, bool), (1, 1, 1))


def test_distances_are_between_the_outlines_of_a_plane():
    small, large = np.zeros((20, 20, 1), bool), np.zeros((20, 20, 1), bool)
    small[8:12, 8:12] = True
    large[4:16, 4:16] = True
    hd95, assd = surface_distances(small, large, (1, 1, 5))
    # From a side of the small square to the large one's it is 4 pixels, from a corner 4 to 5.7.
    assert 4 <= assd < 5.7
    assert hd95 == pytest.approx(4 * 2**0.5)
    assert surface_distances(large, large, (1, 1, 5)) == (0, 0)


def test_lesions_of_a_plane_are_its_components():
    truth = np.zeros((20, 20, 1), bool)
    truth[2:6, 2:6] = truth[10:14, 10:14] = True
    found = lesion_scores(truth & (np.arange(20) < 8)[:, None, None], truth, (1, 1, 1))
    assert found.lesion_sensitivity == 0.5
    assert found.lesion_precision == 1


def test_the_border_of_a_plane_is_its_rim():
    plane = np.zeros((5, 6, 1))
    plane[0], plane[-1], plane[:, 0], plane[:, -1] = 1, 1, 1, 1
    assert (border_of(plane) == 1).all()


def test_nothing_is_flagged_for_being_no_volume():
    image = np.where(disc(), 100 + noise(), 0)[..., None]
    found = measure(Volume(image, np.eye(4)), image, disc()[..., None])
    assert set(found) == {"noise"}
    assert 0 < found["noise"] < 0.01
    assert Limits().flags(found) == []
